"""The affine map through oneDNN, which PyTorch brings along and does not ask for float32 products.

PyTorch hands float32 products on a CPU to MKL. On processors that are not Intel's, MKL leaves half of the vector unit
unused (docs/performance.md has the rates); oneDNN generates code for what the processor has. Both are exact float32.

    dL/dx = g W        dL/dW = g^T x        dL/db = sum of g over rows
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mambrane.kernels.operator import is_batched, operator

TYPES = (torch.float32,)


def supports(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> str | None:
    """Return why PyTorch must compute this product, or None."""
    if torch.is_autocast_enabled("cpu"):
        return "autocast will round the factors"
    if is_batched(x) or is_batched(weight_OI):
        return "torch.vmap has a rule for PyTorch's product"
    is_float32 = x.dtype == weight_OI.dtype == torch.float32 and (bias_O is None or bias_O.dtype == torch.float32)
    return None if is_float32 else "it is for float32 in all tensors"


def linear_onednn(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x W^T + b [..., O] of float32 tensors on the CPU."""
    # oneDNN reads a bias as if its numbers lay side by side, whatever its strides say.
    bias_O = None if bias_O is None else bias_O.contiguous()
    return _Linear.apply(x.contiguous(), _in_rows_or_columns(weight_OI), bias_O)


def sum_of_outer_products_onednn(left_RO: Tensor, right_RI: Tensor) -> Tensor:
    """Return left^T right [O, I]."""
    left_RO, right_RI = _in_rows_or_columns(left_RO), _in_rows_or_columns(right_RI)
    # The first factor of a product gets copied into rows: let that be the smaller one.
    num_rows, outputs = left_RO.shape
    inputs = right_RI.shape[1]
    if num_rows == 0:
        return left_RO.new_zeros(outputs, inputs)
    if inputs * (num_rows + outputs) < outputs * num_rows:
        return _product(right_RI.T, left_RO.T).T.contiguous()
    return _product(left_RO.T, right_RI.T)


def _in_rows_or_columns(matrix: Tensor) -> Tensor:
    """Return a copy of a slice: oneDNN's plain loop for odd strides is up to a hundred times slower than the copy."""
    return matrix if matrix.T.is_contiguous() else matrix.contiguous()


def _product(rows: Tensor, columns: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows [..., I] times the transpose of columns [O, I]; both contiguous, or transposes of such."""
    # torch's compiler has no rule for oneDNN's own operator; without it, the way through ours would only cost time.
    return _opaque_product(rows, columns, bias) if torch.compiler.is_compiling() else _onednn(rows, columns, bias)


def _onednn(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, columns, bias, "none", [], "")


@operator("linear_product")
def _opaque_product(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    """Return the product, as an operator that the compiler calls and does not look into."""
    return _onednn(rows, columns, bias)


@_opaque_product.register_shapes
def _opaque_product_shape(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    return rows.new_empty(*rows.shape[:-1], columns.shape[0])


class _Linear(torch.autograd.Function):
    """oneDNN products forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:  # noqa: ANN401 -- torch's
        ctx.save_for_backward(x, weight_OI)
        return _product(x, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # noqa: ANN401
        x, weight_OI = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()
        rows_RO = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(gradient, weight_OI.T) if needs_x else None,
            sum_of_outer_products_onednn(rows_RO, x.reshape(-1, x.shape[-1])) if needs_weight else None,
            rows_RO.sum(0) if needs_bias else None,
        )


def _count_flops(rows_shape: Any, columns_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:  # noqa: ANN401
    return 2 * math.prod(rows_shape) * columns_shape[0]


# torch's counter of floating-point operations does not know the operators.
register_flop_formula([torch.ops.mkldnn._linear_pointwise, torch.ops.mambrane.linear_product])(_count_flops)
