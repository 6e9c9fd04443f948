"""What a component of a model costs per token of a forward pass, counted from its shapes.

A matrix product that reads exactly {0, 1} needs no multiplication: each spike adds one row of weights. Such products
are counted as synaptic operations at a firing rate; every other product reads dense numbers and is counted as
multiply-accumulates (MACs), as executed. Updates of neurons and states are counted apart. One MAC is two FLOPs; a
backward pass costs twice a forward pass.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

from torch import nn


class FiringRates(NamedTuple):
    """Spikes per neuron and tick of a block's two populations; None where a population does not spike."""

    first: float | None
    second: float | None


ALWAYS_FIRING = FiringRates(1.0, 1.0)
"""The dense cost: every neuron fires at every tick."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentCost:
    """Cost of one component; figures per token and forward pass."""

    name: str
    parameters: int = 0
    dense_macs_per_token: float = 0.0
    """Multiply-accumulates that read dense numbers."""
    spike_macs_per_token: float = 0.0
    """Multiply-accumulates that read spikes, as executed by dense products."""
    synaptic_operations_per_token: float = 0.0
    """Additions that an event-driven machine would need instead, at the given firing rates."""
    state_updates_per_token: float = 0.0
    """Multiply-accumulates of neurons, traces, convolutions and scans."""
    state_numbers: int = 0
    """Numbers remembered of a sequence from one token to the next; constant in its length."""

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of a forward pass as executed."""
        return 2.0 * (self.dense_macs_per_token + self.spike_macs_per_token + self.state_updates_per_token)

    def __add__(self, other: "ComponentCost") -> "ComponentCost":
        """Return the cost of both, under the name of the first."""
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)[1:]}
        return ComponentCost(name=self.name, **sums)


def macs(*products: nn.Linear) -> float:
    """Return the multiply-accumulates of these layers' products for one token."""
    return float(sum(layer.weight.numel() for layer in products))


def num_parameters(*modules: nn.Module) -> int:
    """Return the number of parameters of modules."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
