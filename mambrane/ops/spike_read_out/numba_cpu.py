"""The read-out of the neurons of a hybrid block on the CPU: one pass over memory forward, one backward.

The formula is in `reference.py`. A task is a block of tokens. With g the gradient of out, and of r directly e:

    dq = g a z        dz = g a q        dr = g b + e        da = sum over tokens of g z q        db of g r

Spikes of the second population are z and r at once. The loops say what a vector is: the compiler would have to suppose
that so many rows overlap.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, count_blocks, ordered_sum
from mambrane.kernels.blocks import clear
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import LANES, load_strip, store_strip, zeros

BLOCK_TOKENS = 64
"""Tokens of a task: their number, not that of the threads, decides in which order da and db are added up."""


def spike_read_out_numba(
    q_BTE: Tensor,
    spikes_BTS: Tensor | None,
    code_BTS: Tensor | None,
    second_BTP: Tensor,
    gate_R: Tensor,
    out_R: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return out and r; arguments as in `mambrane.ops.spike_read_out.spike_read_out`."""
    none_BT0 = q_BTE.new_empty(*q_BTE.shape[:2], 0)
    first = (none_BT0 if each is None else each for each in (spikes_BTS, code_BTS))
    given = (q_BTE, *first, second_BTP, gate_R, out_R)
    outputs = _read_out(*(each.to(compute_dtype(q_BTE)).contiguous() for each in given))
    return outputs.out_BTR.to(q_BTE.dtype), outputs.read_BTR.to(q_BTE.dtype)


class _Inputs(NamedTuple):
    q_BTE: Tensor
    spikes_BTS: Tensor
    code_BTS: Tensor
    second_BTP: Tensor
    gate_R: Tensor
    out_R: Tensor


class _Outputs(NamedTuple):
    out_BTR: Tensor
    read_BTR: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    shape = (*inputs.q_BTE.shape[:2], inputs.gate_R.shape[0])
    return _Outputs(inputs.q_BTE.new_empty(shape), inputs.q_BTE.new_empty(shape))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    rows = (each.flatten(0, 1) for each in (*inputs[:4], *outputs))
    run = (
        _forward,
        count_blocks(inputs.q_BTE.shape[:2].numel(), BLOCK_TOKENS),
        *arrays(inputs.gate_R, inputs.out_R, *rows),
    )
    parallel_for(*run, work_ns=0.3 * outputs.out_BTR.numel())


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    *given, gate_R, out_R = saved
    found, num_blocks = (
        [torch.empty_like(each) for each in given],
        count_blocks(saved.q_BTE.shape[:2].numel(), BLOCK_TOKENS),
    )
    partial_GR = [gate_R.new_zeros(num_blocks, gate_R.shape[0]) for _ in range(2)]
    rows = (each.flatten(0, 1) for each in (*grads, *given, *found))
    run = (_backward, num_blocks, *arrays(gate_R, out_R, *rows, *partial_GR))
    parallel_for(*run, work_ns=0.6 * grads.out_BTR.numel())
    return *found, *(ordered_sum(partial) for partial in partial_GR)


_read_out = differentiable(
    "spike_read_out",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Inputs._fields,
    gradients={name: name for name in _Inputs._fields},
)


@kernel()
def _forward(first, last, gate_R, out_R, q_NE, spikes_NS, code_NS, second_NP, out_NR, read_NR):
    """Do the blocks of tokens first, ..., last - 1."""
    units, both = spikes_NS.shape[1], gate_R.size
    for n in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, q_NE.shape[0])):
        q_E, read_R, out_of_R = q_NE[n], read_NR[n], out_NR[n]
        _read(gate_R[:units], out_R[:units], q_E[:units], spikes_NS[n], code_NS[n], read_R[:units], out_of_R[:units])
        second_P = second_NP[n]
        _read(
            gate_R[units:both],
            out_R[units:both],
            q_E[units:both],
            second_P,
            second_P,
            read_R[units:both],
            out_of_R[units:both],
        )


@kernel()
def _read(gate_S, out_S, q_S, z_S, r_S, read_S, out_of_S):
    zero_L, whole = zeros(z_S, LANES), z_S.size // LANES * LANES
    for s in range(0, whole, LANES):
        r_L, gated_L = load_strip(zero_L, r_S, s), load_strip(zero_L, gate_S, s) * load_strip(zero_L, z_S, s)
        store_strip(r_L, read_S, s)
        store_strip(gated_L * load_strip(zero_L, q_S, s) + load_strip(zero_L, out_S, s) * r_L, out_of_S, s)
    for s in range(whole, z_S.size):
        read_S[s] = r_S[s]
        out_of_S[s] = gate_S[s] * z_S[s] * q_S[s] + out_S[s] * r_S[s]


@kernel()
def _backward(first, last, gate_R, out_R, *arguments):
    """Go back through the blocks of tokens first, ..., last - 1; the partial sums start as zeros."""
    grad_NR, grad_read_NR, q_NE, spikes_NS, code_NS, second_NP = arguments[:6]
    grad_q_NE, grad_spikes_NS, grad_code_NS, grad_second_NP, partial_gate_GR, partial_out_GR = arguments[6:]
    units, both = spikes_NS.shape[1], gate_R.size
    for block in range(first, last):
        grad_gate_R, grad_out_R = partial_gate_GR[block], partial_out_GR[block]
        for n in range(block * BLOCK_TOKENS, min((block + 1) * BLOCK_TOKENS, q_NE.shape[0])):
            grad_R, grad_read_R, q_E, grad_q_E = grad_NR[n], grad_read_NR[n], q_NE[n], grad_q_NE[n]
            _differentiate_first(
                (gate_R[:units], out_R[:units]),
                (grad_R[:units], grad_read_R[:units]),
                (q_E[:units], spikes_NS[n], code_NS[n]),
                (grad_q_E[:units], grad_spikes_NS[n], grad_code_NS[n]),
                (grad_gate_R[:units], grad_out_R[:units]),
            )
            _differentiate_second(
                (gate_R[units:both], out_R[units:both]),
                (grad_R[units:both], grad_read_R[units:both]),
                (q_E[units:both], second_NP[n]),
                (grad_q_E[units:both], grad_second_NP[n]),
                (grad_gate_R[units:both], grad_out_R[units:both]),
            )
            clear(grad_q_E[both:])


@kernel()
def _differentiate_first(factors, grads, given, found, sums):
    (gate_S, out_S), (grad_S, grad_read_S), (q_S, z_S, r_S) = factors, grads, given
    (grad_q_S, grad_z_S, grad_r_S), (grad_gate_S, grad_out_S) = found, sums
    zero_L, whole = zeros(z_S, LANES), z_S.size // LANES * LANES
    for s in range(0, whole, LANES):
        grad_L, q_L, z_L = load_strip(zero_L, grad_S, s), load_strip(zero_L, q_S, s), load_strip(zero_L, z_S, s)
        gated_L = grad_L * load_strip(zero_L, gate_S, s)
        store_strip(load_strip(zero_L, grad_gate_S, s) + grad_L * (z_L * q_L), grad_gate_S, s)
        store_strip(load_strip(zero_L, grad_out_S, s) + grad_L * load_strip(zero_L, r_S, s), grad_out_S, s)
        store_strip(gated_L * z_L, grad_q_S, s)
        store_strip(gated_L * q_L, grad_z_S, s)
        store_strip(grad_L * load_strip(zero_L, out_S, s) + load_strip(zero_L, grad_read_S, s), grad_r_S, s)
    for s in range(whole, z_S.size):
        gated = grad_S[s] * gate_S[s]
        grad_gate_S[s] += grad_S[s] * (z_S[s] * q_S[s])
        grad_out_S[s] += grad_S[s] * r_S[s]
        grad_q_S[s] = gated * z_S[s]
        grad_z_S[s] = gated * q_S[s]
        grad_r_S[s] = grad_S[s] * out_S[s] + grad_read_S[s]


@kernel()
def _differentiate_second(factors, grads, given, found, sums):
    (gate_P, out_P), (grad_P, grad_read_P), (q_P, z_P) = factors, grads, given
    (grad_q_P, grad_z_P), (grad_gate_P, grad_out_P) = found, sums
    zero_L, whole = zeros(z_P, LANES), z_P.size // LANES * LANES
    for p in range(0, whole, LANES):
        grad_L, q_L, z_L = load_strip(zero_L, grad_P, p), load_strip(zero_L, q_P, p), load_strip(zero_L, z_P, p)
        gated_L, read_L = grad_L * load_strip(zero_L, gate_P, p), grad_L * load_strip(zero_L, out_P, p)
        store_strip(load_strip(zero_L, grad_gate_P, p) + grad_L * (z_L * q_L), grad_gate_P, p)
        store_strip(load_strip(zero_L, grad_out_P, p) + grad_L * z_L, grad_out_P, p)
        store_strip(gated_L * z_L, grad_q_P, p)
        store_strip(gated_L * q_L + read_L + load_strip(zero_L, grad_read_P, p), grad_z_P, p)
    for p in range(whole, z_P.size):
        gated = grad_P[p] * gate_P[p]
        grad_gate_P[p] += grad_P[p] * (z_P[p] * q_P[p])
        grad_out_P[p] += grad_P[p] * z_P[p]
        grad_q_P[p] = gated * z_P[p]
        grad_z_P[p] = gated * q_P[p] + grad_P[p] * out_P[p] + grad_read_P[p]
