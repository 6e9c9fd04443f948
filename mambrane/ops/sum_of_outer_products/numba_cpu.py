"""Sums of outer products on the CPU, without the transposed copy of a factor that oneDNN's product needs.

A library multiplies rows by columns; here both factors lie in rows, tokens first. `kernels/products` adds token after
token to tiles that stay in registers, so nothing is transposed: for 1,024 tokens and 64 x 128 weights a quarter faster
than oneDNN with the copy, for larger ones a tenth (docs/performance.md). Each sum is taken in the order of the tokens,
whatever the number of threads.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mambrane.kernels.operator import operator
from mambrane.kernels.products import sum_over_tokens
from mambrane.kernels.vectors import WIDE_LANES

TYPES = (torch.float32,)


def supports(left_BO: Tensor, right_BI: Tensor) -> str | None:
    """Return why another backend must add up, or None."""
    if left_BO.dtype != right_BI.dtype:
        return "it is for float32 in both factors"
    is_wide = right_BI.shape[1] % WIDE_LANES == 0
    return None if is_wide else f"the factor on the right is not {WIDE_LANES} numbers wide, or a multiple of that"


def sum_of_outer_products_numba(left_BO: Tensor, right_BI: Tensor) -> Tensor:
    """Return left^T right [O, I]."""
    return _sum(left_BO, right_BI)


@operator("sum_of_outer_products")
def _sum(left_BO: Tensor, right_BI: Tensor) -> Tensor:
    return sum_over_tokens(left_BO, right_BI, right_BI.shape[1])


@_sum.register_shapes
def _shape_of_sum(left_BO: Tensor, right_BI: Tensor) -> Tensor:
    return left_BO.new_empty(left_BO.shape[1], right_BI.shape[1])


def _count_flops(left_shape: Any, right_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:  # noqa: ANN401
    return 2 * left_shape[0] * left_shape[1] * right_shape[1]


# torch's counter of floating-point operations does not know the operator.
register_flop_formula(torch.ops.mambrane.sum_of_outer_products)(_count_flops)
