"""One small call of linear_cross_entropy, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.linear_cross_entropy import linear_cross_entropy

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the output of one call; sizes of two, as in the other examples."""
    return (linear_cross_entropy(_ones(2, 2, 2), _ones(2, 2), torch.ones(2, 2, dtype=torch.int64)),)
