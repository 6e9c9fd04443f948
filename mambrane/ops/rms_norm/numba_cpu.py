"""The norm on the CPU: one pass over memory forward, one backward.

The formula is in `reference.py`. A task is a block of rows. With s = 1 / sqrt(mean(x^2) + eps) of a row, saved for the
backward pass, and g the gradient of y:

    dx = s (g w - x s^2 mean(g w x))        dw = sum over rows of g x s
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, count_blocks, ordered_sum
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.threads import parallel_for

BLOCK_ROWS = 64
"""Rows of a task: their number, not that of the threads, decides in which order dw is added up."""


def rms_norm_numba(x: Tensor, weight_D: Tensor | None, *, eps: float) -> Tensor:
    """Return the normalised x; arguments as in `mambrane.ops.rms_norm.rms_norm`."""
    dtype = compute_dtype(x)
    factor_D = x.new_ones(x.shape[-1], dtype=dtype) if weight_D is None else weight_D.to(dtype).contiguous()
    # Not -1, which has no meaning for a tensor without rows.
    x_ND = x.to(dtype).reshape(x.numel() // max(1, x.shape[-1]), x.shape[-1]).contiguous()
    return _rms_norm(x_ND, factor_D, eps).y_ND.view(x.shape).to(x.dtype)


class _Inputs(NamedTuple):
    x_ND: Tensor
    weight_D: Tensor
    eps: float


class _Outputs(NamedTuple):
    y_ND: Tensor
    scale_N: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.x_ND), inputs.x_ND.new_empty(inputs.x_ND.shape[0]))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    x_ND = inputs.x_ND
    parallel_for(
        _forward, count_blocks(x_ND.shape[0], BLOCK_ROWS), *arrays(*inputs, *outputs), work_ns=0.15 * x_ND.numel()
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x_ND, weight_D, scale_N = saved
    grad_x_ND, partial_PD = (
        torch.empty_like(x_ND),
        x_ND.new_zeros(count_blocks(x_ND.shape[0], BLOCK_ROWS), x_ND.shape[1]),
    )
    parallel_for(
        _backward,
        partial_PD.shape[0],
        *arrays(grads.y_ND, x_ND, weight_D, scale_N, grad_x_ND, partial_PD),
        work_ns=0.3 * x_ND.numel(),
    )
    return grad_x_ND, ordered_sum(partial_PD)


_rms_norm = differentiable(
    "rms_norm",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=("x_ND", "weight_D", "scale_N"),
    gradients={"x_ND": "x_ND", "weight_D": "weight_D"},
    internal=("scale_N",),
)


@kernel()
def _forward(first, last, x_ND, weight_D, eps, y_ND, scale_N):
    """Do the blocks of rows first, ..., last - 1."""
    number = x_ND.dtype.type
    for n in range(first * BLOCK_ROWS, min(last * BLOCK_ROWS, x_ND.shape[0])):
        mean = _dot(x_ND[n], x_ND[n]) / number(x_ND.shape[1])
        scale = number(1) / np.sqrt(mean + number(eps))
        scale_N[n] = scale
        _scale(x_ND[n], weight_D, scale, y_ND[n])


@kernel(reorders_sums=True)
def _dot(x_D, y_D):
    total = x_D.dtype.type(0)
    for d in range(x_D.size):
        total += x_D[d] * y_D[d]
    return total


@kernel(reorders_sums=True)
def _dot_of_three(x_D, y_D, z_D):
    total = x_D.dtype.type(0)
    for d in range(x_D.size):
        total += x_D[d] * y_D[d] * z_D[d]
    return total


@kernel()
def _scale(x_D, weight_D, scale, y_D):
    for d in range(x_D.size):
        y_D[d] = x_D[d] * scale * weight_D[d]


@kernel()
def _backward(first, last, grad_ND, x_ND, weight_D, scale_N, grad_x_ND, partial_PD):
    """Go back through the blocks of rows first, ..., last - 1."""
    number = x_ND.dtype.type
    for block in range(first, last):
        for n in range(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, x_ND.shape[0])):
            scale = scale_N[n]
            mean = _dot_of_three(grad_ND[n], weight_D, x_ND[n]) / number(x_ND.shape[1])
            _go_back(grad_ND[n], x_ND[n], weight_D, scale, scale * scale * mean, grad_x_ND[n], partial_PD[block])


@kernel()
def _go_back(grad_D, x_D, weight_D, scale, along, grad_x_D, grad_weight_D):
    for d in range(x_D.size):
        grad_x_D[d] = scale * (grad_D[d] * weight_D[d] - x_D[d] * along)
        grad_weight_D[d] += grad_D[d] * x_D[d] * scale
