"""The averaged weights: an exponential moving average of every parameter, kept aside in float32, by name.

    d_n = min(decay, (1 + n) / (10 + n))          average <- d_n average + (1 - d_n) weight

n counts the updates before this one, so early weights do not linger. A parameter that appears later starts as a copy.
Source: the warm-up is that of tf.train.ExponentialMovingAverage (num_updates).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.shards import own_numbers, piece_of


class ExponentialMovingAverage:
    """Average of a model's floating-point parameters, updated once for each applied step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.average: dict[str, Tensor] = {}
        self._is_swapped = False
        self.add_new_parameters(model)

    def add_new_parameters(self, model: nn.Module) -> None:
        """Start the average of each parameter that it does not know yet from the parameter itself."""
        for name, weight in _weights(model):
            if name not in self.average:
                self.average[name] = weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights."""
        assert not self._is_swapped, "the model holds the average itself"
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.add_new_parameters(model)
        weights = dict(_weights(model))
        averages = [own_numbers(self.average[name]) for name in weights]
        own = [own_numbers(weights[name]).to(average) for name, average in zip(weights, averages, strict=True)]
        torch._foreach_lerp_(averages, own, 1 - decay)
        self.num_updates += 1

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Let the model hold the averaged weights inside the context; its own come back, exceptions or not."""
        assert not self._is_swapped, "the average is already in the model"
        held = {name: weight.detach().clone() for name, weight in _weights(model)}
        self._is_swapped = True
        try:
            _write(model, self.average)
            yield
        finally:
            _write(model, held)
            self._is_swapped = False

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of updates."""
        assert not self._is_swapped, "nothing is saved while the average is in the model"
        return {"num_updates": self.num_updates, "average": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the average back.

        Raises:
            ValueError: a saved name or shape is not one of the model's.
        """
        fitting = {name: tuple(average.shape) for name, average in self.average.items()}
        for name, average in state["average"].items():
            if fitting.get(name) != tuple(average.shape):
                raise ValueError(f"average of {name}: shape {tuple(average.shape)}, the model has {fitting.get(name)}")
            own = self.average[name]
            self.average[name] = piece_of(average, like=own).to(own.device, own.dtype, copy=True)
        self.num_updates = int(state["num_updates"])


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.is_floating_point())


@torch.no_grad()
def _write(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, weight in _weights(model):
        if name in values:
            weight.copy_(values[name])
