"""Float32 products of oneDNN, which PyTorch has and asks for nothing (docs/decisions/matrix-products.md)."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mambrane.kernels.operator import operator


def product(rows: Tensor, columns: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows [..., I] times the transpose of columns [O, I]; both contiguous, or transposes of such."""
    # torch's compiler has no rule for oneDNN's own operator; without it, the way through ours would only cost time.
    return _opaque_product(rows, columns, bias) if torch.compiler.is_compiling() else _onednn(rows, columns, bias)


def in_rows_or_columns(matrix: Tensor) -> Tensor:
    """Return a copy of a slice: oneDNN's plain loop for odd strides is up to a hundred times slower than the copy."""
    return matrix if matrix.T.is_contiguous() else matrix.contiguous()


def _onednn(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, columns, bias, "none", [], "")


@operator("linear_product")
def _opaque_product(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    """Return the product, as an operator that the compiler calls and does not look into."""
    return _onednn(rows, columns, bias)


@_opaque_product.register_shapes
def _opaque_product_shape(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    return rows.new_empty(*rows.shape[:-1], columns.shape[0])


def _count_flops(rows_shape: Any, columns_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:  # noqa: ANN401
    return 2 * math.prod(rows_shape) * columns_shape[0]


# torch's counter of floating-point operations does not know the operators.
register_flop_formula([torch.ops.mkldnn._linear_pointwise, torch.ops.mambrane.linear_product])(_count_flops)
