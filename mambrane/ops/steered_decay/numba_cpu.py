"""Decays of steered neurons on the CPU: one pass over memory forward, one backward.

The formula is in `reference.py`. A task is a block of tokens. With r = 1 / tau, s = 1 / (1 + exp(-w y)), m = 1/2 + s
and g the gradient of the decay d:

    dlog_tau = sum over tokens of g d r        dw of g d r y s (1 - s) / m        dy = g d r w s (1 - s) / m
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, count_blocks, ordered_sum
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import exp, sigmoid
from mambrane.kernels.threads import parallel_for

BLOCK_TOKENS = 64
"""Tokens of a task: their number, not that of the threads, decides in which order sums over them are taken."""


def steered_decay_numba(heard_BTP: Tensor, weight_P: Tensor, log_tau_P: Tensor) -> Tensor:
    """Return the decay; arguments as in `mambrane.ops.steered_decay.steered_decay`."""
    given = (each.to(compute_dtype(heard_BTP)).contiguous() for each in (heard_BTP, weight_P, log_tau_P))
    return _decay(*given).decay_BTP.to(heard_BTP.dtype)


class _Inputs(NamedTuple):
    heard_BTP: Tensor
    weight_P: Tensor
    log_tau_P: Tensor


class _Outputs(NamedTuple):
    decay_BTP: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.heard_BTP))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    rates_P = torch.exp(-inputs.log_tau_P)
    rows = (each.flatten(0, 1) for each in (inputs.heard_BTP, *outputs))
    run = (
        _forward,
        count_blocks(inputs.heard_BTP.shape[:2].numel(), BLOCK_TOKENS),
        *arrays(inputs.weight_P, rates_P, *rows),
    )
    parallel_for(*run, work_ns=0.5 * inputs.heard_BTP.numel())


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    heard_BTP, num_blocks = saved.heard_BTP, count_blocks(saved.heard_BTP.shape[:2].numel(), BLOCK_TOKENS)
    grad_heard_BTP, rates_P = torch.empty_like(heard_BTP), torch.exp(-saved.log_tau_P)
    partial_GP = [heard_BTP.new_zeros(num_blocks, heard_BTP.shape[2]) for _ in range(2)]
    rows = (each.flatten(0, 1) for each in (heard_BTP, saved.decay_BTP, *grads, grad_heard_BTP))
    run = (_backward, num_blocks, *arrays(saved.weight_P, rates_P, *rows, *partial_GP))
    parallel_for(*run, work_ns=0.6 * heard_BTP.numel())
    return grad_heard_BTP, *(ordered_sum(partial) for partial in partial_GP)


_decay = differentiable(
    "steered_decay",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields, "decay_BTP"),
    gradients={name: name for name in _Inputs._fields},
)


@kernel()
def _forward(first, last, weight_P, rates_P, heard_NP, decay_NP):
    """Do the blocks of tokens first, ..., last - 1."""
    for n in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, heard_NP.shape[0])):
        _steer(weight_P, rates_P, heard_NP[n], decay_NP[n])


@kernel()
def _steer(weight_P, rates_P, heard_P, decay_P):
    half = heard_P.dtype.type(0.5)
    for p in range(heard_P.size):
        decay_P[p] = exp(-rates_P[p] / (half + sigmoid(weight_P[p] * heard_P[p])))


@kernel()
def _backward(first, last, weight_P, rates_P, heard_NP, decay_NP, grad_NP, grad_heard_NP, weight_GP, log_tau_GP):
    """Go back through the blocks of tokens first, ..., last - 1; the partial sums start as zeros."""
    for block in range(first, last):
        grad_weight_P, grad_log_tau_P = weight_GP[block], log_tau_GP[block]
        for n in range(block * BLOCK_TOKENS, min((block + 1) * BLOCK_TOKENS, heard_NP.shape[0])):
            given = (weight_P, rates_P, heard_NP[n], decay_NP[n], grad_NP[n])
            _differentiate(given, grad_heard_NP[n], grad_weight_P, grad_log_tau_P)


@kernel()
def _differentiate(given, grad_heard_P, grad_weight_P, grad_log_tau_P):
    weight_P, rates_P, heard_P, decay_P, grad_P = given
    half, one = heard_P.dtype.type(0.5), heard_P.dtype.type(1)
    for p in range(heard_P.size):
        s = sigmoid(weight_P[p] * heard_P[p])
        inverse = one / (half + s)
        grad_log_tau = grad_P[p] * decay_P[p] * rates_P[p] * inverse
        grad_score = grad_log_tau * inverse * (s * (one - s))
        grad_log_tau_P[p] += grad_log_tau
        grad_weight_P[p] += grad_score * heard_P[p]
        grad_heard_P[p] = grad_score * weight_P[p]
