"""One small call of softplus, for compiling its kernels ahead (ops/warm_up.py)."""

import torch
from torch import Tensor

from mambrane.ops.softplus import softplus


def example() -> tuple[Tensor, ...]:
    """Return the output of one call."""
    return (softplus(torch.ones(2, 2, 2, requires_grad=True)),)
