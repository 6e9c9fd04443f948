"""What a forward pass may change beside gradients: the global random state and the model's buffers.

The engine itself draws from no global generator, but a model may (dropout), and buffers may move (running
statistics). A snapshot puts both back, so that an aborted step, a retried micro-batch and an evaluation leave no
trace.
"""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mambrane.engine.ema import ExponentialMovingAverage


def global_random_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's and torch's global generators as a tree of numbers and tensors."""
    python_version, python_words, python_gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    return {
        "python": {"version": python_version, "words": torch.tensor(python_words), "gauss": python_gauss},
        "numpy": {
            "bit_generator": numpy_state["bit_generator"],
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        # Of the device in use only: asking every visible GPU would make a context on each.
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
    }


def set_global_random_state(state: dict[str, Any]) -> None:
    """Put the global generators back to a state taken before."""
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    numpy_state = state["numpy"]
    np.random.set_state(
        {
            "bit_generator": numpy_state["bit_generator"],
            "state": {"key": numpy_state["key"].numpy().astype(np.uint32), "pos": numpy_state["pos"]},
            "has_gauss": numpy_state["has_gauss"],
            "gauss": numpy_state["gauss"],
        }
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0])


class Snapshot:
    """The global random state and the buffers of a model at one moment; taken for each micro-batch, so it is cheap."""

    def __init__(self, model: nn.Module) -> None:
        self._python_state = random.getstate()
        self._numpy_state = np.random.get_state()
        self._torch_state = torch.get_rng_state()
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self._cuda_device = device if device.type == "cuda" else None
        self._cuda_state = None if self._cuda_device is None else torch.cuda.get_rng_state(self._cuda_device)
        self._buffers: list[tuple[Tensor, Tensor]] = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def restore(self) -> None:
        """Put the random state and the buffers back."""
        random.setstate(self._python_state)
        np.random.set_state(self._numpy_state)
        torch.set_rng_state(self._torch_state)
        if self._cuda_device is not None and self._cuda_state is not None:
            torch.cuda.set_rng_state(self._cuda_state, self._cuda_device)
        self.restore_buffers()

    @torch.no_grad()
    def restore_buffers(self) -> None:
        """Put the buffers back, and let the random state go on."""
        for buffer, held in self._buffers:
            buffer.copy_(held)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode inside the context and give each module its own mode back after."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


@contextmanager
def evaluation_without_trace(model: nn.Module, ema: ExponentialMovingAverage | None = None) -> Iterator[None]:
    """Let the model be evaluated in the midst of training, with the averaged weights if there are any.

    Modes, weights, buffers and the global random state come back exactly, exceptions or not; gradients that are
    being accumulated stay as they are.
    """
    snapshot = Snapshot(model)
    swap: AbstractContextManager[None] = nullcontext() if ema is None else ema.swapped_in(model)
    try:
        with swap, evaluation_mode(model), torch.no_grad():
            yield
    finally:
        snapshot.restore()
