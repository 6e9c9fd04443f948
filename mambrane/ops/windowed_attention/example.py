"""One small call of windowed_attention, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.windowed_attention import windowed_attention

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the outputs of one call; sizes of two, because an array of one row is contiguous in both orders."""
    return windowed_attention(*(_ones(2, 2, 2) for _ in range(3)), heads=2, window=2)[:1]
