"""The affine map through oneDNN, which PyTorch brings along and does not ask for float32 products.

PyTorch hands float32 products on a CPU to MKL. On processors that are not Intel's, MKL leaves half of the vector unit
unused (docs/performance.md has the rates); oneDNN generates code for what the processor has. Both are exact float32.

    dL/dx = g W        dL/dW = g^T x        dL/db = sum of g over rows
"""

from typing import Any

import torch
from torch import Tensor

from mambrane.kernels.onednn import in_rows_or_columns, product
from mambrane.kernels.operator import is_batched
from mambrane.ops.sum_of_outer_products import sum_of_outer_products

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
    return _Linear.apply(x.contiguous(), in_rows_or_columns(weight_OI), bias_O)


class _Linear(torch.autograd.Function):
    """oneDNN products forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:  # noqa: ANN401 -- torch's
        ctx.save_for_backward(x, weight_OI)
        return product(x, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # noqa: ANN401
        x, weight_OI = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()
        rows_RO = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(gradient, weight_OI.T) if needs_x else None,
            sum_of_outer_products(rows_RO, x.reshape(-1, x.shape[-1])) if needs_weight else None,
            rows_RO.sum(0) if needs_bias else None,
        )
