"""Skip and gate of Mamba on the CPU: one pass over memory forward, one backward.

The formula is in `reference.py`. A task is a block of tokens. With s = 1 / (1 + exp(-z)) and g the gradient of out:

    dy = g z s        dx = D dy        dD = sum over tokens of x dy        dz = g (y + D x) s (1 + z (1 - s))
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, count_blocks, ordered_sum
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import sigmoid
from mambrane.kernels.threads import parallel_for

BLOCK_TOKENS = 64
"""Tokens of a task: their number, not that of the threads, decides in which order dD is added up."""


def gated_skip_numba(y_BTE: Tensor, x_BTE: Tensor, skip_E: Tensor, gate_BTE: Tensor) -> Tensor:
    """Return the gated output; arguments as in `mambrane.ops.gated_skip.gated_skip`."""
    inputs = (each.to(compute_dtype(y_BTE)).contiguous() for each in (y_BTE, x_BTE, skip_E, gate_BTE))
    return _gated_skip(*inputs).out_BTE.to(y_BTE.dtype)


class _Inputs(NamedTuple):
    y_BTE: Tensor
    x_BTE: Tensor
    skip_E: Tensor
    gate_BTE: Tensor


class _Outputs(NamedTuple):
    out_BTE: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.y_BTE))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    rows = (each.flatten(0, 1) for each in (inputs.y_BTE, inputs.x_BTE, inputs.gate_BTE, outputs.out_BTE))
    parallel_for(
        _forward,
        count_blocks(inputs.y_BTE.shape[:2].numel(), BLOCK_TOKENS),
        *arrays(inputs.skip_E, *rows),
        work_ns=0.2 * inputs.y_BTE.numel(),
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    y_BTE, x_BTE, skip_E, gate_BTE = saved
    grads_of = [torch.empty_like(y_BTE) for _ in range(3)]
    partial_PE = y_BTE.new_zeros(count_blocks(y_BTE.shape[:2].numel(), BLOCK_TOKENS), y_BTE.shape[2])
    rows = (each.flatten(0, 1) for each in (grads.out_BTE, y_BTE, x_BTE, gate_BTE, *grads_of))
    parallel_for(_backward, partial_PE.shape[0], *arrays(skip_E, *rows, partial_PE), work_ns=0.5 * y_BTE.numel())
    grad_y_BTE, grad_x_BTE, grad_gate_BTE = grads_of
    return grad_y_BTE, grad_x_BTE, ordered_sum(partial_PE), grad_gate_BTE


_gated_skip = differentiable(
    "gated_skip",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Inputs._fields,
    gradients={name: name for name in _Inputs._fields},
)


@kernel()
def _forward(first, last, skip_E, y_NE, x_NE, gate_NE, out_NE):
    """Do the blocks of tokens first, ..., last - 1."""
    for n in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, y_NE.shape[0])):
        _gate(skip_E, y_NE[n], x_NE[n], gate_NE[n], out_NE[n])


@kernel()
def _gate(skip_E, y_E, x_E, gate_E, out_E):
    for e in range(y_E.size):
        out_E[e] = (y_E[e] + skip_E[e] * x_E[e]) * (gate_E[e] * sigmoid(gate_E[e]))


@kernel()
def _backward(first, last, skip_E, grad_NE, y_NE, x_NE, gate_NE, grad_y_NE, grad_x_NE, grad_gate_NE, partial_PE):
    """Go back through the blocks of tokens first, ..., last - 1."""
    for block in range(first, last):
        for n in range(block * BLOCK_TOKENS, min((block + 1) * BLOCK_TOKENS, y_NE.shape[0])):
            _go_back(
                skip_E,
                grad_NE[n],
                y_NE[n],
                x_NE[n],
                gate_NE[n],
                grad_y_NE[n],
                grad_x_NE[n],
                grad_gate_NE[n],
                partial_PE[block],
            )


@kernel()
def _go_back(skip_E, grad_E, y_E, x_E, gate_E, grad_y_E, grad_x_E, grad_gate_E, grad_skip_E):
    one = y_E.dtype.type(1)
    for e in range(y_E.size):
        s = sigmoid(gate_E[e])
        grad_y = grad_E[e] * (gate_E[e] * s)
        grad_gate_E[e] = grad_E[e] * (y_E[e] + skip_E[e] * x_E[e]) * (s * (one + gate_E[e] * (one - s)))
        grad_y_E[e] = grad_y
        grad_x_E[e] = skip_E[e] * grad_y
        grad_skip_E[e] += x_E[e] * grad_y
