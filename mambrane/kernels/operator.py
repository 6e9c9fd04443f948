"""Makes a function an operator of torch, which compiling, checkpoints and autocast know how to handle.

`torch.library.custom_op` does the same, and in torch 2.13 checks on every call what cannot change from call to call:
26 us of the 41 us that an operator with ten arguments cost, 75 of 160 in the middle of a training step
(docs/experiments/speed.md; pytorch/pytorch issue 139500). This uses the layer below it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mambrane.kernels.numba_internals import (
    SingleLevelFunction,
    below_autograd,
    destroy_library,
    is_shown_for_batch,
)

_libraries: dict[str, torch.library.Library] = {}


class Operator:
    """`torch.ops.mambrane.<name>`, callable here; it changes none of its arguments."""

    def __init__(self, name: str, run: Callable, device: str = "CPU") -> None:
        """Register a function, whose types torch reads, for the tensors of one device (a dispatch key of torch)."""
        self._name = name
        # A module that is loaded again, or whose first import was interrupted, replaces what it registered.
        if name in _libraries:
            destroy_library(_libraries.pop(name))
        self._library = _libraries[name] = torch.library.Library("mambrane", "FRAGMENT")
        schema = torch.library.infer_schema(run, mutates_args=())
        self._library.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        self._library.impl(name, run, device)
        self._call = getattr(torch.ops.mambrane, name).default
        torch.library.register_vmap(f"mambrane::{name}", _one_by_one(self._call), lib=self._library)

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 -- as the function says
        """Run it; gradients flow if they were registered."""
        return self._call(*arguments)

    def register_shapes(self, make_outputs: Callable) -> Callable:
        """Let a function of the same arguments say which outputs there are; it may not look at numbers."""
        torch.library.register_fake(f"mambrane::{self._name}", make_outputs, lib=self._library)
        return make_outputs

    def register_gradients(self, run_backward: Callable, save: Callable) -> None:
        """Make the operator differentiable, once: a second derivative is refused (RuntimeError).

        Gradients flow to tensors among the arguments, not to those inside a list.

        Args:
            run_backward: of (context, gradients of the outputs), returns those of the arguments, None for numbers.
            save: of (context, arguments, outputs), keeps in the context what `run_backward` needs.
        """
        call = self._call

        def forward(context: Any, *arguments: Any) -> Any:  # noqa: ANN401 -- torch's own
            with below_autograd():
                outputs = call(*arguments)
            save(context, arguments, outputs)
            return outputs

        def backward(context: Any, *grads: Tensor | None) -> Any:  # noqa: ANN401 -- torch's own
            if torch.is_grad_enabled():
                raise RuntimeError(
                    f"create_graph=True asks for gradients of the gradients of mambrane::{self._name}, which has none; "
                    'backend="reference" has'
                )
            return run_backward(context, *grads)

        # Profilers and grad_fn show the name of the class.
        methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        remembered: Any = type(f"mambrane_{self._name}", (SingleLevelFunction,), methods)

        def call_and_remember(*arguments: Any) -> Any:  # noqa: ANN401 -- as the function says
            if torch.is_grad_enabled() and any(isinstance(each, Tensor) and each.requires_grad for each in arguments):
                return remembered.apply(*arguments)
            with below_autograd():
                return call(*arguments)

        self._library.impl(self._name, call_and_remember, "Autograd")


def _one_by_one(call: Callable) -> Callable:
    """Return torch.vmap's rule for an operator that runs once for each of a batch; gradients flow as through each run.

    The rule takes what torch knows of the batch, the dimension that it has in each argument or None, and the arguments;
    it returns the outputs, and the dimension that it has in each.
    """

    def rule(batch: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:  # noqa: ANN401 -- as `call` has
        pieces = [
            [each] * batch.batch_size if dim is None else [piece.contiguous() for piece in each.unbind(dim)]
            for each, dim in zip(arguments, in_dims, strict=True)
        ]
        outputs = [call(*each) for each in zip(*pieces, strict=True)]
        if isinstance(outputs[0], Tensor):
            return torch.stack(outputs), 0
        stacked = tuple(torch.stack(each) for each in zip(*outputs, strict=True))
        return stacked, (0,) * len(stacked)

    return rule


def is_batched(tensor: Tensor) -> bool:
    """Return whether torch.vmap shows the tensor for a batch."""
    return not torch.compiler.is_compiling() and is_shown_for_batch(tensor)


def is_differentiated(*tensors: Tensor | None) -> bool:
    """Return whether what is computed from the tensors may be asked for gradients; under torch.vmap none says no."""
    return torch.is_grad_enabled() and any(
        each is not None and (each.requires_grad or is_batched(each)) for each in tensors
    )


def operator(name: str, device: str = "CPU") -> Callable[[Callable], Operator]:
    """Return a decorator that registers a function, whose types torch reads, as `torch.ops.mambrane.<name>`."""
    return lambda run: Operator(name, run, device)
