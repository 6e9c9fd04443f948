"""One small call of steered_decay, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.steered_decay import steered_decay

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the output of one call; sizes of two, because an array of one row is contiguous in both orders."""
    return (steered_decay(_ones(2, 2, 2), _ones(2), _ones(2)),)
