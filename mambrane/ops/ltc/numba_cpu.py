# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of a kernel's arguments
"""LTC on the CPU: no tensor of size batch x units x units is ever made.

The formula is in `reference.py`. Forward: the sensory synapses of all tokens, then the recurrence, unfold by
unfold. What is kept is the state before each unfold and the conductance that it met; the backward pass recomputes the
openings s of the synapses. With d = elapsed / 6, D = cm + d conductance, v' the state after an unfold, v the one
before, g the gradient of v':

    dpull = d g / D     dconductance = -dpull v'     dd = cm dpull (v' - v) / d^2     dcm = dpull (v - v') / d
    dv[i] = cm[i] g[i] / D[i] + sum over j of s (1 - s) sigma w (dpull[j] erev + dconductance[j])    for synapses i -> j

The gradients of a synapse are sums over all tokens and unfolds, gathered where its opening has just been recomputed:
in order for each task, then over the tasks, which do not depend on how many threads there are.
Letters beyond core/shapes: I input width; P, the pre-synaptic side, is I or L; K unfolds; M = 1 or L; R some rows of
the batch; Q = B T, the steps of all sequences; G tasks.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
from mambrane.kernels.blocks import add, copy
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import sigmoid
from mambrane.kernels.operator import is_differentiated
from mambrane.kernels.threads import parallel_for
from mambrane.ops.ltc.reference import EPSILON, NUM_UNFOLDS, LtcOutput, LtcWeights

CHUNK_ROWS = 16
BACKWARD_ROWS = 4
"""Sequences of a task of the backward pass: even, because openings are recomputed for two rows at a time."""
BACKWARD_STEPS = 128
"""Steps of a task that goes back through the sensory synapses."""


def ltc_numba(
    x_BTI: Tensor, weights: LtcWeights, *, state_BL: Tensor | None, resets_BT: Tensor | None, elapsed_BT: Tensor | None
) -> LtcOutput:
    """Return the states of an LTC cell; arguments as in `mambrane.ops.ltc.ltc`."""
    dtype = compute_dtype(x_BTI)
    batch_size, num_tokens, _ = x_BTI.shape
    p = LtcWeights(*(weight.to(dtype) for weight in weights))
    u_BTI = x_BTI.to(dtype) * p.input_weight + p.input_bias
    if state_BL is None:
        state_BL = u_BTI.new_zeros(batch_size, p.cm.shape[0])
    if elapsed_BT is None:
        elapsed_BT = u_BTI.new_ones(batch_size, num_tokens)
    floats = (
        u_BTI,
        state_BL.to(dtype),
        (elapsed_BT if elapsed_BT.ndim == 3 else elapsed_BT.unsqueeze(-1)).to(dtype),
        torch.stack([p.sensory_w, p.sensory_mu, p.sensory_sigma, p.sensory_erev]),
        torch.stack([p.w, p.mu, p.sigma, p.erev]),
        torch.stack([p.cm, p.gleak, p.vleak]),
    )
    hidden_BTL, _, _ = _ltc(
        *(each.contiguous() for each in floats),
        no_resets(x_BTI) if resets_BT is None else resets_BT,
        is_differentiated(*floats),
    )
    return LtcOutput(hidden_BTL.to(x_BTI.dtype), hidden_BTL[:, -1])


class _Inputs(NamedTuple):
    u_BTI: Tensor
    state_BL: Tensor
    elapsed_BTM: Tensor
    sensory_4IL: Tensor
    """w, mu, sigma, erev."""
    synapses_4LL: Tensor
    units_3L: Tensor
    """cm, gleak, vleak."""
    resets_BT: Tensor
    saves_states: bool


class _Outputs(NamedTuple):
    hidden_BTL: Tensor
    before_BTKL: Tensor
    """The states before each unfold; T = 0 if not kept, and so below."""
    conductance_BTKL: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    (batch_size, num_tokens, _), units = inputs.u_BTI.shape, inputs.state_BL.shape[1]
    saved = (batch_size, num_tokens if inputs.saves_states else 0, NUM_UNFOLDS, units)
    hidden_BTL = inputs.u_BTI.new_empty(batch_size, num_tokens, units)
    return _Outputs(hidden_BTL, inputs.u_BTI.new_empty(saved), inputs.u_BTI.new_empty(saved))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    u_BTI, state_BL, elapsed_BTM, sensory_4IL, synapses_4LL, units_3L, resets_BT, _ = inputs
    cm_L, gleak_L, vleak_L = units_3L.detach()
    batch_size, num_tokens, units = outputs[0].shape
    pull_BTL = (gleak_L * vleak_L).repeat(batch_size, num_tokens, 1)
    conductance_BTL = (gleak_L + EPSILON).repeat(batch_size, num_tokens, 1)
    parallel_for(
        _sensory_forward,
        batch_size * num_tokens,
        *arrays(u_BTI.flatten(0, 1), _packed(sensory_4IL), pull_BTL.flatten(0, 1), conductance_BTL.flatten(0, 1)),
        work_ns=u_BTI.numel() * units,
    )
    num_shares = min(batch_size, torch.get_num_threads())
    parallel_for(
        _forward,
        num_shares,
        num_shares,
        *arrays(pull_BTL, conductance_BTL, state_BL, resets_BT, elapsed_BTM, _packed(synapses_4LL), cm_L, *outputs),
        work_ns=outputs[0].numel() * NUM_UNFOLDS * units,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    """Return the gradients of the first six arguments of the forward operation."""
    u_BTI, state_BL, elapsed_BTM, sensory_4IL, synapses_4LL, units_3L, resets_BT, *outputs = saved
    hidden_BTL, before_BTKL, conductance_BTKL = outputs
    units_3L = units_3L.detach()
    batch_size, num_steps = state_BL.shape[0], u_BTI.shape[0] * u_BTI.shape[1]
    grad_pull_BTL, grad_conductance_BTL, grad_elapsed_BTL = (torch.zeros_like(hidden_BTL) for _ in range(3))
    grad_state_BL, grad_cm_BL = torch.zeros_like(state_BL), torch.zeros_like(state_BL)
    num_tasks, num_sensory_tasks = -(-batch_size // BACKWARD_ROWS), -(-num_steps // BACKWARD_STEPS)
    sums_G4LL, sums_G4LI = _empty_sums(num_tasks, synapses_4LL), _empty_sums(num_sensory_tasks, sensory_4IL)
    parallel_for(
        _backward,
        num_tasks,
        *arrays(grads.hidden_BTL, resets_BT, elapsed_BTM, _packed(synapses_4LL).transpose(1, 2), units_3L[0]),
        *arrays(hidden_BTL, before_BTKL, conductance_BTKL),
        *arrays(grad_pull_BTL, grad_conductance_BTL, grad_elapsed_BTL, grad_state_BL, grad_cm_BL, sums_G4LL),
        work_ns=before_BTKL.numel() * state_BL.shape[1],
    )
    grad_pull_QL, grad_conductance_QL = grad_pull_BTL.flatten(0, 1), grad_conductance_BTL.flatten(0, 1)
    # The kernel takes two steps at a time; one of zeros adds nothing.
    steps = (F.pad(each, (0, 0, 0, num_steps % 2)) for each in (u_BTI.flatten(0, 1), grad_pull_QL, grad_conductance_QL))
    grad_u_QI = u_BTI.new_zeros(num_steps + num_steps % 2, u_BTI.shape[2])
    parallel_for(
        _sensory_backward,
        num_sensory_tasks,
        *arrays(*steps, _packed(sensory_4IL).transpose(1, 2), grad_u_QI, sums_G4LI),
        work_ns=u_BTI.numel() * state_BL.shape[1],
    )
    pull_L, conductance_L = ordered_sum(grad_pull_QL), ordered_sum(grad_conductance_QL)
    return (
        grad_u_QI[:num_steps].reshape(u_BTI.shape),
        grad_state_BL,
        grad_elapsed_BTL.sum(dim=-1, keepdim=True) if elapsed_BTM.shape[2] == 1 else grad_elapsed_BTL,
        _synapse_gradients(sums_G4LI, sensory_4IL),
        _synapse_gradients(sums_G4LL, synapses_4LL),
        torch.stack([ordered_sum(grad_cm_BL), pull_L * units_3L[2] + conductance_L, pull_L * units_3L[1]]),
    )


_ltc = differentiable(
    "ltc",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields[:7], *_Outputs._fields),
    gradients={name: name for name in _Inputs._fields[:6]},
    internal=("before_BTKL", "conductance_BTKL"),
)


def _packed(synapses_4PL: Tensor) -> Tensor:
    """Return sigma, sigma mu, w, w erev: what is needed of each synapse where v is known; [4, P, L]."""
    w_PL, mu_PL, sigma_PL, erev_PL = synapses_4PL.detach()
    return torch.stack([sigma_PL, sigma_PL * mu_PL, w_PL, w_PL * erev_PL])


def _empty_sums(num_tasks: int, synapses_4PL: Tensor) -> Tensor:
    """Return zeros, four for each synapse and task, the post-synaptic side first; [G, 4, L, P]."""
    _, pre, units = synapses_4PL.shape
    return synapses_4PL.new_zeros(num_tasks, 4, units, pre)


def _synapse_gradients(sums_G4LP: Tensor, synapses_4PL: Tensor) -> Tensor:
    """Return the gradients of w, mu, sigma and erev; [4, P, L]."""
    w_PL, mu_PL, sigma_PL, erev_PL = synapses_4PL.detach()
    pull_PL, conductance_PL, slope_PL, slope_pre_PL = ordered_sum(sums_G4LP).transpose(1, 2)
    return torch.stack(
        [conductance_PL + erev_PL * pull_PL, -sigma_PL * slope_PL, slope_pre_PL - mu_PL * slope_PL, w_PL * pull_PL]
    )


@kernel()
def _sensory_forward(first, last, u_QI, packed_4IL, pull_QL, conductance_QL):
    """Add what the steps first, ..., last - 1 receive from the inputs."""
    for start in range(first, last, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, last))
        _add_synapses(u_QI[rows], packed_4IL, pull_QL[rows], conductance_QL[rows])


@kernel()
def _sensory_backward(first, last, u_QI, grad_pull_QL, grad_conductance_QL, packed_4LI, grad_u_QI, sums_G4LI):
    for task in range(first, last):
        end = min((task + 1) * BACKWARD_STEPS, len(u_QI))
        for start in range(task * BACKWARD_STEPS, end, CHUNK_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, end))
            grads = grad_pull_QL[rows], grad_conductance_QL[rows]
            _synapses_backward(u_QI[rows], *grads, packed_4LI, grad_u_QI[rows], sums_G4LI[task])


@kernel(makes_arrays=True)
def _forward(first_share, last_share, num_shares, *arguments):
    """Run the rows of these shares of the batch; every unit's pull and conductance already hold leak and inputs."""
    pull_BTL, conductance_BTL, state_BL, resets_BT, elapsed_BTM, packed_4LL, cm_L = arguments[:7]
    hidden_BTL, before_BTKL, conductance_BTKL = arguments[7:]
    rows = slice(first_share * len(state_BL) // num_shares, last_share * len(state_BL) // num_shares)
    v_RL = state_BL[rows].copy()
    received = pull_BTL[rows], conductance_BTL[rows], resets_BT[rows], elapsed_BTM[rows]
    scratch = v_RL, np.empty_like(v_RL), np.empty_like(v_RL), np.empty_like(v_RL)
    _run(received, packed_4LL, cm_L, scratch, (hidden_BTL[rows], before_BTKL[rows], conductance_BTKL[rows]))


@kernel()
def _run(received, packed_4LL, cm_L, scratch, saved):
    """Run some rows over all tokens; the first of the scratch is the state."""
    pull_RTL, conductance_RTL, resets_RT, elapsed_RTM = received
    v_RL, pull_RL, conductance_RL, d_RL = scratch
    hidden_RTL, before_RTKL, conductance_RTKL = saved
    for t in range(hidden_RTL.shape[1]):
        _clear(resets_RT, t, v_RL)
        _divide_time(elapsed_RTM, t, d_RL)
        for k in range(NUM_UNFOLDS):
            for r in range(len(v_RL)):
                copy(pull_RTL[r, t], pull_RL[r])
                copy(conductance_RTL[r, t], conductance_RL[r])
            _add_synapses(v_RL, packed_4LL, pull_RL, conductance_RL)
            for r in range(len(v_RL)):
                if before_RTKL.shape[1] > 0:
                    copy(v_RL[r], before_RTKL[r, t, k])
                    copy(conductance_RL[r], conductance_RTKL[r, t, k])
                _unfold(v_RL[r], cm_L, d_RL[r], pull_RL[r], conductance_RL[r])
        for r in range(len(v_RL)):
            copy(v_RL[r], hidden_RTL[r, t])


@kernel()
def _clear(resets_RT, t, values_RL):
    """Set the rows to zero whose document starts at token t."""
    for r in range(values_RL.shape[0]):
        if resets_RT[r, t]:
            for i in range(values_RL.shape[1]):
                values_RL[r, i] = 0


@kernel()
def _divide_time(elapsed_RTM, t, d_RL):
    for r in range(d_RL.shape[0]):
        for i in range(d_RL.shape[1]):
            d_RL[r, i] = elapsed_RTM[r, t, i if elapsed_RTM.shape[2] > 1 else 0] / d_RL.dtype.type(NUM_UNFOLDS)


@kernel()
def _unfold(v_L, cm_L, d_L, pull_L, conductance_L):
    for i in range(v_L.size):
        v_L[i] = (cm_L[i] * v_L[i] + d_L[i] * pull_L[i]) / (cm_L[i] + d_L[i] * conductance_L[i])


@kernel()
def _add_synapses(pre_RP, packed_4PL, pull_RL, conductance_RL):
    """Add the pull and the conductance of all synapses of these rows."""
    for i in range(pre_RP.shape[1]):
        for r in range(pre_RP.shape[0]):
            v = pre_RP[r, i]
            for j in range(pull_RL.shape[1]):
                is_open = sigmoid(packed_4PL[0, i, j] * v - packed_4PL[1, i, j])
                conductance_RL[r, j] += is_open * packed_4PL[2, i, j]
                pull_RL[r, j] += is_open * packed_4PL[3, i, j]


@kernel(makes_arrays=True)
def _backward(first, last, *arguments):
    """Walk the rows of these tasks from the last unfold to the first; the last six arguments are written."""
    grad_hidden_BTL, resets_BT, elapsed_BTM, packed_4LL, cm_L, hidden_BTL, before_BTKL, conductance_BTKL = arguments[:8]
    grad_pull_BTL, grad_conductance_BTL, grad_elapsed_BTL, grad_state_BL, grad_cm_BL, sums_G4LL = arguments[8:]
    for task in range(first, last):
        rows = slice(task * BACKWARD_ROWS, min((task + 1) * BACKWARD_ROWS, len(resets_BT)))
        hidden_RTL, d_RL = hidden_BTL[rows], np.empty_like(grad_cm_BL[rows])
        # An odd number of rows is made even by one of zeros, which adds nothing.
        padded = (len(d_RL) + len(d_RL) % 2, d_RL.shape[1])
        before_RL, grad_v_RL = np.zeros(padded, d_RL.dtype), np.zeros(padded, d_RL.dtype)
        grad_pull_RL, grad_conductance_RL = np.zeros(padded, d_RL.dtype), np.zeros(padded, d_RL.dtype)
        gradients = grad_pull_BTL[rows], grad_conductance_BTL[rows], grad_elapsed_BTL[rows], grad_cm_BL[rows]
        _go_back(
            (grad_hidden_BTL[rows], resets_BT[rows], elapsed_BTM[rows]),
            (hidden_RTL, before_BTKL[rows], conductance_BTKL[rows]),
            packed_4LL,
            cm_L,
            (before_RL, grad_v_RL, grad_pull_RL, grad_conductance_RL, d_RL),
            gradients,
            sums_G4LL[task],
        )
        for r in range(len(d_RL)):
            copy(grad_v_RL[r], grad_state_BL[rows][r])


@kernel()
def _go_back(received, saved, packed_4LL, cm_L, scratch, gradients, sums_4LL):
    """Walk some rows back over all tokens; the second of the scratch is the gradient of the state."""
    grad_hidden_RTL, resets_RT, elapsed_RTM = received
    hidden_RTL, before_RTKL, conductance_RTKL = saved
    before_RL, grad_v_RL, grad_pull_RL, grad_conductance_RL, d_RL = scratch
    all_pull_RTL, all_conductance_RTL, grad_elapsed_RTL, grad_cm_RL = gradients
    for t in range(hidden_RTL.shape[1] - 1, -1, -1):
        _divide_time(elapsed_RTM, t, d_RL)
        for r in range(len(d_RL)):
            add(grad_hidden_RTL[r, t], grad_v_RL[r])
        for k in range(NUM_UNFOLDS - 1, -1, -1):
            for r in range(len(d_RL)):
                copy(before_RTKL[r, t, k], before_RL[r])
                after_L = hidden_RTL[r, t] if k == NUM_UNFOLDS - 1 else before_RTKL[r, t, k + 1]
                _differentiate_unfold(
                    (cm_L, d_RL[r], conductance_RTKL[r, t, k], before_RL[r], after_L),
                    (grad_v_RL[r], grad_pull_RL[r], grad_conductance_RL[r], grad_elapsed_RTL[r, t], grad_cm_RL[r]),
                )
                add(grad_pull_RL[r], all_pull_RTL[r, t])
                add(grad_conductance_RL[r], all_conductance_RTL[r, t])
            _synapses_backward(before_RL, grad_pull_RL, grad_conductance_RL, packed_4LL, grad_v_RL, sums_4LL)
        _clear(resets_RT, t, grad_v_RL[: len(d_RL)])


@kernel()
def _differentiate_unfold(values, gradients):
    """Turn the gradient of v' into that of v through the membrane alone, and find the others."""
    cm_L, d_L, conductance_L, before_L, after_L = values
    grad_v_L, grad_pull_L, grad_conductance_L, grad_elapsed_L, grad_cm_L = gradients
    unfolds = cm_L.dtype.type(NUM_UNFOLDS)
    # One loop each: a loop that writes to several arrays is not turned into vector instructions.
    for i in range(cm_L.size):
        grad_pull_L[i] = d_L[i] * grad_v_L[i] / (cm_L[i] + d_L[i] * conductance_L[i])
    for i in range(cm_L.size):
        grad_conductance_L[i] = -grad_pull_L[i] * after_L[i]
    for i in range(cm_L.size):
        grad_v_L[i] = cm_L[i] * grad_pull_L[i] / d_L[i]
    for i in range(cm_L.size):
        grad_elapsed_L[i] += grad_v_L[i] * (after_L[i] - before_L[i]) / (d_L[i] * unfolds)
    for i in range(cm_L.size):
        grad_cm_L[i] += grad_pull_L[i] / d_L[i] * (before_L[i] - after_L[i])


@kernel()
def _synapses_backward(pre_RP, grad_pull_RL, grad_conductance_RL, packed_4LP, grad_pre_RP, sums_4LP):
    """Add to the gradient of each pre-synaptic value what comes back through its synapses, and to their four sums.

    The sums are those of s dpull, s dconductance, f and f v, with f the gradient of the argument of the sigmoid. Rows
    go two at a time, so that the sums are read and written half as often; their number is even.
    """
    one = pre_RP.dtype.type(1)
    for j in range(grad_pull_RL.shape[1]):
        for r in range(0, pre_RP.shape[0], 2):
            pull0, conductance0 = grad_pull_RL[r, j], grad_conductance_RL[r, j]
            pull1, conductance1 = grad_pull_RL[r + 1, j], grad_conductance_RL[r + 1, j]
            for i in range(pre_RP.shape[1]):
                v0, v1 = pre_RP[r, i], pre_RP[r + 1, i]
                open0 = sigmoid(packed_4LP[0, j, i] * v0 - packed_4LP[1, j, i])
                open1 = sigmoid(packed_4LP[0, j, i] * v1 - packed_4LP[1, j, i])
                through0 = conductance0 * packed_4LP[2, j, i] + pull0 * packed_4LP[3, j, i]
                through1 = conductance1 * packed_4LP[2, j, i] + pull1 * packed_4LP[3, j, i]
                f0, f1 = open0 * (one - open0) * through0, open1 * (one - open1) * through1
                grad_pre_RP[r, i] += packed_4LP[0, j, i] * f0
                grad_pre_RP[r + 1, i] += packed_4LP[0, j, i] * f1
                sums_4LP[0, j, i] += open0 * pull0 + open1 * pull1
                sums_4LP[1, j, i] += open0 * conductance0 + open1 * conductance1
                sums_4LP[2, j, i] += f0 + f1
                sums_4LP[3, j, i] += f0 * v0 + f1 * v1
