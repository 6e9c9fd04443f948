"""Signed spike counts: numbers as a few whole ones times one factor for each token, so that a product needs additions.

    f = g mean |x|  over the token's numbers        n = round(x / f) within -L .. L        x is read as f n

so W x = f (W n): a weight is added |n| times, or taken away, and each output multiplied once. L = 1 is ternary, with
g = 1.5; more levels count bursts of spikes, with g = 2 / L. The gradient passes straight through where |x| is below
(L + 1/2) f, and takes f for a constant.

Sources: a threshold that follows the mean, and its whole-number spikes: Pan et al., SpikingBrain (arXiv 2509.05276);
the ternary threshold at about 0.7 mean |x|: Li et al., Ternary Weight Networks (arXiv 1605.04711).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

SMALLEST_FACTOR = 1e-12


class SpikeCounts(NamedTuple):
    """What a product reads."""

    numbers: Tensor
    """f n, in the shape of x."""
    counts: Tensor
    """|n|, without a gradient: additions that each number asks of an output."""


def spike_counts(x: Tensor, levels: int) -> SpikeCounts:
    """Return x as signed spike counts, token by token over its last axis."""
    gain = 1.5 if levels == 1 else 2.0 / levels
    factor = (gain * x.detach().abs().mean(dim=-1, keepdim=True)).clamp(min=SMALLEST_FACTOR)
    numbers = _Rounded.apply(x, factor, levels)
    return SpikeCounts(numbers, (numbers.detach() / factor).round().abs())


class _Rounded(torch.autograd.Function):
    """Rounding, with the derivative of the identity inside the range."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: Tensor, levels: int) -> Tensor:
        return (x / factor).round().clamp(-levels, levels) * factor

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401 -- torch's own
        x, factor, levels = inputs
        context.save_for_backward(x.abs() <= (levels + 0.5) * factor)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 -- torch's own
        (is_inside,) = context.saved_tensors
        return gradient * is_inside, None, None
