"""One small call of ltc, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.ltc import LtcWeights, ltc

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the outputs of one call; sizes of two, because an array of one row is contiguous in both orders."""
    matrices = ("sensory_w", "sensory_mu", "sensory_sigma", "sensory_erev", "w", "mu", "sigma", "erev")
    weights = {name: _ones(2, 2) if name in matrices else _ones(2) for name in LtcWeights._fields}
    return ltc(_ones(2, 2, 2), LtcWeights(**weights))
