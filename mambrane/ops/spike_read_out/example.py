"""One small call of spike_read_out, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.spike_read_out import spike_read_out

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the outputs of one call; sizes of two, because an array of one row is contiguous in both orders."""
    return spike_read_out(_ones(2, 2, 4), _ones(2, 2, 2), _ones(2, 2, 2), _ones(2, 2, 2), _ones(4), _ones(4))
