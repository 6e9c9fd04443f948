"""The gates of the heads of a path on the CPU: one pass over memory forward, one backward.

The formula is in `reference.py`. A task is a block of tokens. With c the gradient of out, and of the gate directly e:

    ds = g c        dz = (c . s + e) g (1 - g)        du = dz w        dw = sum over tokens of dz u        db of dz

A head is a few vectors of LANES numbers, and what is left of it, number by number.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, count_blocks, ordered_sum
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
    run = (
        _forward,
        count_blocks(inputs.path_BTD.shape[:2].numel(), BLOCK_TOKENS),
        *arrays(inputs.weight_HP.flatten(), inputs.bias_H, *rows),
    )
    parallel_for(*run, work_ns=0.5 * inputs.path_BTD.numel())


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    path_BTD, num_blocks = saved.path_BTD, count_blocks(saved.path_BTD.shape[:2].numel(), BLOCK_TOKENS)
    grad_path_BTD, grad_u_BTD = (torch.empty_like(path_BTD) for _ in range(2))
    partial_weight_GD = path_BTD.new_zeros(num_blocks, path_BTD.shape[2])
    partial_bias_GH = path_BTD.new_zeros(num_blocks, saved.gate_BTH.shape[2])
    tensors = (*grads, path_BTD, saved.u_BTD, saved.gate_BTH, grad_path_BTD, grad_u_BTD)
    rows = (each.flatten(0, 1) for each in tensors)
    run = (_backward, num_blocks, *arrays(saved.weight_HP.flatten(), *rows, partial_weight_GD, partial_bias_GH))
    parallel_for(*run, work_ns=1.0 * path_BTD.numel())
    grad_weight_HP = ordered_sum(partial_weight_GD).view(saved.weight_HP.shape)
    return grad_path_BTD, grad_u_BTD, grad_weight_HP, ordered_sum(partial_bias_GH)


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
    for n in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, path_ND.shape[0])):
        _score(weight_D, bias_H, u_ND[n], gate_NH[n])
        _open(gate_NH[n])
        _gate_path(path_ND[n], gate_NH[n], gated_ND[n])


@kernel()
def _score(weight_D, bias_H, u_D, score_H):
    zero_L, numbers = zeros(u_D, LANES), u_D.size // score_H.size
    for h in range(score_H.size):
        start, total_L = h * numbers, zero_L
        whole = start + numbers // LANES * LANES
        for d in range(start, whole, LANES):
            total_L = fma(load_strip(zero_L, weight_D, d), load_strip(zero_L, u_D, d), total_L)
        total = bias_H[h] + sum_of_lanes(total_L)
        for d in range(whole, start + numbers):
            total += weight_D[d] * u_D[d]
        score_H[h] = total


@kernel()
def _open(score_H):
    for h in range(score_H.size):
        score_H[h] = sigmoid(score_H[h])


@kernel()
def _gate_path(path_D, gate_H, gated_D):
    zero_L, numbers = zeros(path_D, LANES), path_D.size // gate_H.size
    for h in range(gate_H.size):
        start = h * numbers
        whole = start + numbers // LANES * LANES
        for d in range(start, whole, LANES):
            store_strip(load_strip(zero_L, path_D, d) * gate_H[h], gated_D, d)
        for d in range(whole, start + numbers):
            gated_D[d] = path_D[d] * gate_H[h]


@kernel()
def _backward(first, last, weight_D, *arguments):
    """Go back through the blocks of tokens first, ..., last - 1; the partial sums start as zeros."""
    grad_ND, grad_gate_NH, path_ND, u_ND, gate_NH, grad_path_ND, grad_u_ND = arguments[:7]
    partial_weight_GD, partial_bias_GH = arguments[7:]
    for block in range(first, last):
        sums = partial_weight_GD[block], partial_bias_GH[block]
        for n in range(block * BLOCK_TOKENS, min((block + 1) * BLOCK_TOKENS, path_ND.shape[0])):
            given = grad_ND[n], grad_gate_NH[n], path_ND[n], u_ND[n], gate_NH[n]
            _differentiate(weight_D, given, (grad_path_ND[n], grad_u_ND[n]), sums)


@kernel()
def _differentiate(weight_D, given, found, sums):
    (grad_D, grad_gate_H, path_D, u_D, gate_H), (grad_path_D, grad_u_D) = given, found
    grad_weight_D, grad_bias_H = sums
    zero_L, numbers, one = zeros(path_D, LANES), path_D.size // gate_H.size, path_D.dtype.type(1)
    for h in range(gate_H.size):
        start, total_L, gate = h * numbers, zero_L, gate_H[h]
        whole = start + numbers // LANES * LANES
        for d in range(start, whole, LANES):
            grad_L = load_strip(zero_L, grad_D, d)
            total_L = fma(grad_L, load_strip(zero_L, path_D, d), total_L)
            store_strip(grad_L * gate, grad_path_D, d)
        total = grad_gate_H[h] + sum_of_lanes(total_L)
        for d in range(whole, start + numbers):
            total += grad_D[d] * path_D[d]
            grad_path_D[d] = grad_D[d] * gate
        grad_score = total * gate * (one - gate)
        grad_bias_H[h] += grad_score
        for d in range(start, whole, LANES):
            store_strip(load_strip(zero_L, weight_D, d) * grad_score, grad_u_D, d)
            grad_weight_L = load_strip(zero_L, grad_weight_D, d)
            store_strip(fma(load_strip(zero_L, u_D, d), grad_score, grad_weight_L), grad_weight_D, d)
        for d in range(whole, start + numbers):
            grad_u_D[d] = weight_D[d] * grad_score
            grad_weight_D[d] += u_D[d] * grad_score
