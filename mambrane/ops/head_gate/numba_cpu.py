"""The gates of the heads of a path on the CPU: one pass over memory forward, one backward.

The formula is in `reference.py`. A task is a block of tokens. With c the gradient of out, and of the gate directly e:

    ds = g c        dz = (c . s + e) g (1 - g)        du = dz w        dw = sum over tokens of dz u        db of dz

A head is a few vectors of LANES numbers, and what is left of it, number by number.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, ordered_sum
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import sigmoid
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import LANES, fma, load_strip, store_strip, sum_of_lanes, zeros

BLOCK_TOKENS = 64
"""Tokens of a task: their number, not that of the threads, decides in which order dw and db are added up."""


def head_gate_numba(path_BTD: Tensor, u_BTD: Tensor, weight_HP: Tensor, bias_H: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gated path and the gate; arguments as in `mambrane.ops.head_gate.head_gate`."""
    given = (path_BTD, u_BTD, weight_HP, bias_H)
    outputs = _gate(*(each.to(compute_dtype(path_BTD)).contiguous() for each in given))
    dtype = torch.promote_types(path_BTD.dtype, weight_HP.dtype)
    return outputs.gated_BTD.to(dtype), outputs.gate_BTH.to(dtype)


class _Inputs(NamedTuple):
    path_BTD: Tensor
    u_BTD: Tensor
    weight_HP: Tensor
    bias_H: Tensor


class _Outputs(NamedTuple):
    gated_BTD: Tensor
    gate_BTH: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    path_BTD = inputs.path_BTD
    return _Outputs(torch.empty_like(path_BTD), path_BTD.new_empty(*path_BTD.shape[:2], inputs.bias_H.shape[0]))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    rows = (each.flatten(0, 1) for each in (inputs.path_BTD, inputs.u_BTD, *outputs))
    run = (_forward, _count_blocks(inputs.path_BTD), *arrays(inputs.weight_HP.flatten(), inputs.bias_H, *rows))
    parallel_for(*run, work_ns=0.5 * inputs.path_BTD.numel())


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    path_BTD, num_blocks = saved.path_BTD, _count_blocks(saved.path_BTD)
    grad_path_BTD, grad_u_BTD = (torch.empty_like(path_BTD) for _ in range(2))
    partial_weight_GD = path_BTD.new_zeros(num_blocks, path_BTD.shape[2])
    partial_bias_GH = path_BTD.new_zeros(num_blocks, saved.gate_BTH.shape[2])
    tensors = (*grads, path_BTD, saved.u_BTD, saved.gate_BTH, grad_path_BTD, grad_u_BTD)
    rows = (each.flatten(0, 1) for each in tensors)
    run = (_backward, num_blocks, *arrays(saved.weight_HP.flatten(), *rows, partial_weight_GD, partial_bias_GH))
    parallel_for(*run, work_ns=1.0 * path_BTD.numel())
    grad_weight_HP = ordered_sum(partial_weight_GD).view(saved.weight_HP.shape)
    return grad_path_BTD, grad_u_BTD, grad_weight_HP, ordered_sum(partial_bias_GH)


def _count_blocks(path_BTD: Tensor) -> int:
    return -(-path_BTD.shape[0] * path_BTD.shape[1] // BLOCK_TOKENS)


_gate = differentiable(
    "head_gate",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=("path_BTD", "u_BTD", "weight_HP", "bias_H", "gate_BTH"),
    gradients={"path_BTD": "path_BTD", "u_BTD": "path_BTD", "weight_HP": "weight_HP", "bias_H": "bias_H"},
)


@kernel()
def _forward(first, last, weight_D, bias_H, path_ND, u_ND, gated_ND, gate_NH):
    """Do the blocks of tokens first, ..., last - 1."""
    heads, numbers = bias_H.size, weight_D.size // bias_H.size
    for n in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, path_ND.shape[0])):
        for h in range(heads):
            gate_NH[n, h] = bias_H[h] + _dot(weight_D, u_ND[n], h * numbers, numbers)
        _open(gate_NH[n])
        for h in range(heads):
            _scale(path_ND[n], gate_NH[n, h], h * numbers, numbers, gated_ND[n])


@kernel()
def _backward(first, last, weight_D, *arguments):
    """Go back through the blocks of tokens first, ..., last - 1; the partial sums start as zeros."""
    grad_ND, grad_gate_NH, path_ND, u_ND, gate_NH, grad_path_ND, grad_u_ND, partial_weight_GD, partial_bias_GH = (
        arguments
    )
    heads, one = gate_NH.shape[1], weight_D.dtype.type(1)
    numbers = weight_D.size // heads
    for block in range(first, last):
        grad_weight_D, grad_bias_H = partial_weight_GD[block], partial_bias_GH[block]
        for n in range(block * BLOCK_TOKENS, min((block + 1) * BLOCK_TOKENS, path_ND.shape[0])):
            for h in range(heads):
                start, gate = h * numbers, gate_NH[n, h]
                of_gate = _dot(grad_ND[n], path_ND[n], start, numbers) + grad_gate_NH[n, h]
                grad_score = of_gate * gate * (one - gate)
                grad_bias_H[h] += grad_score
                _scale(grad_ND[n], gate, start, numbers, grad_path_ND[n])
                _scale(weight_D, grad_score, start, numbers, grad_u_ND[n])
                _add_scaled(u_ND[n], grad_score, start, numbers, grad_weight_D)


@kernel()
def _open(score_H):
    for h in range(score_H.size):
        score_H[h] = sigmoid(score_H[h])


@kernel()
def _dot(left_D, right_D, start, numbers):
    """Return the product of the numbers of one head."""
    total_L, whole = zeros(left_D, LANES), start + numbers // LANES * LANES
    for d in range(start, whole, LANES):
        total_L = fma(load_strip(total_L, left_D, d), load_strip(total_L, right_D, d), total_L)
    total = sum_of_lanes(total_L)
    for d in range(whole, start + numbers):
        total += left_D[d] * right_D[d]
    return total


@kernel()
def _scale(x_D, factor, start, numbers, out_D):
    """Write the numbers of one head, times a factor."""
    zero_L, whole = zeros(x_D, LANES), start + numbers // LANES * LANES
    for d in range(start, whole, LANES):
        store_strip(load_strip(zero_L, x_D, d) * factor, out_D, d)
    for d in range(whole, start + numbers):
        out_D[d] = x_D[d] * factor


@kernel()
def _add_scaled(x_D, factor, start, numbers, sum_D):
    """Add the numbers of one head, times a factor."""
    zero_L, whole = zeros(x_D, LANES), start + numbers // LANES * LANES
    for d in range(start, whole, LANES):
        store_strip(fma(load_strip(zero_L, x_D, d), factor, load_strip(zero_L, sum_D, d)), sum_D, d)
    for d in range(whole, start + numbers):
        sum_D[d] += x_D[d] * factor
