"""Small calls of rms_norm, for compiling its kernels ahead (ops/warm_up.py)."""

import torch
from torch import Tensor

from mambrane.ops.rms_norm import rms_norm


def example() -> tuple[Tensor, ...]:
    """Return the outputs of a call with a weight and one without; sizes of two, as in the other examples."""
    x, weight_D = torch.ones(2, 2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    return rms_norm(x, weight_D), rms_norm(x)
