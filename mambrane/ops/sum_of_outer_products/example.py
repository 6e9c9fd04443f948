"""Small calls of sum_of_outer_products, for compiling its kernel ahead (ops/warm_up.py)."""

import torch
from torch import Tensor

from mambrane.kernels.vectors import WIDE_LANES
from mambrane.ops.sum_of_outer_products import sum_of_outer_products


def example() -> tuple[Tensor, ...]:
    """Return the sums over two rows, as wide as the kernel wants them."""
    return (sum_of_outer_products(torch.ones(2, 2), torch.ones(2, WIDE_LANES), backend="numba"),)
