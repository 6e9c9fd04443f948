"""Softplus on the CPU: vector instructions where PyTorch calls two functions of the C library for each number.

The formula is in `reference.py`; a task is a block of numbers. With g the gradient of y:    dx = g / (1 + exp(-x))
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels import numba_math
from mambrane.kernels.arguments import arrays, compute_dtype
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.threads import parallel_for

BLOCK_NUMBERS = 4096


def softplus_numba(x: Tensor) -> Tensor:
    """Return y in the shape and type of x; computed in float32 at least."""
    return _softplus(x.to(compute_dtype(x)).contiguous()).y.to(x.dtype)


class _Inputs(NamedTuple):
    x: Tensor


class _Outputs(NamedTuple):
    y: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.x))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    _run(_forward, inputs.x, outputs.y)


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    grad_x = torch.empty_like(saved.x)
    _run(_backward, saved.x, grads.y, grad_x)
    return (grad_x,)


def _run(kernel_of_blocks: Any, *tensors: Tensor) -> None:  # noqa: ANN401 -- a kernel
    numbers = tensors[0].numel()
    rows = arrays(*(each.flatten() for each in tensors))
    parallel_for(kernel_of_blocks, -(-numbers // BLOCK_NUMBERS), *rows, work_ns=0.5 * numbers)


_softplus = differentiable(
    "softplus", _Inputs, _Outputs, _make_outputs, _run_forward, _run_backward, saves=("x",), gradients={"x": "x"}
)


@kernel()
def _forward(first, last, x_N, y_N):
    """Do the blocks of numbers first, ..., last - 1."""
    start, stop = first * BLOCK_NUMBERS, min(last * BLOCK_NUMBERS, x_N.size)
    _softplus_of(x_N[start:stop], y_N[start:stop])


@kernel()
def _softplus_of(x_N, y_N):
    for n in range(x_N.size):
        y_N[n] = numba_math.softplus(x_N[n])


@kernel()
def _backward(first, last, x_N, grad_y_N, grad_x_N):
    """Go back through the blocks of numbers first, ..., last - 1."""
    start, stop = first * BLOCK_NUMBERS, min(last * BLOCK_NUMBERS, x_N.size)
    _differentiate(x_N[start:stop], grad_y_N[start:stop], grad_x_N[start:stop])


@kernel()
def _differentiate(x_N, grad_y_N, grad_x_N):
    for n in range(x_N.size):
        grad_x_N[n] = grad_y_N[n] * numba_math.sigmoid(x_N[n])
