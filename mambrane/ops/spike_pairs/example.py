"""One small call of spike_pairs, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.spike_pairs import spike_pairs

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the outputs of one call; sizes of two, because an array of one row is contiguous in both orders."""
    return spike_pairs([_ones(2, 2, 2)], [_ones(2, 2, 2)], decay_plus=0.5, decay_minus=0.5)
