"""Leaky integrate-and-fire neurons on the CPU: one kernel forward, one backward.

The formula is in `reference.py`. A task is one sequence and one block of neurons, worked on in strips of
neighbouring neurons. Where the last strip would reach beyond the block, it overlaps the one before, and both write the
same.

The forward pass goes token by token; products and sums of its formula are not fused, so that spikes equal the
reference's bit for bit. It writes membranes only where they are asked for, and keeps v at every CHECKPOINT_TOKENS-th
token. From there the backward pass runs a few tokens again, one strip after the other: its membranes and gradients stay
in registers and in the first cache. Rows are fetched before they are needed, because a processor guesses badly which
rows come next on the way back. With G[t] the gradient of v[t], after the reset:

    gz[t]  = dL/dz[t] - r[t] G[t]             r = threshold ("subtract") or v' ("zero"); 0 where the reset is detached
    g[t]   = dL/dv'[t] + k[t] G[t] + surrogate(v'[t] - threshold) gz[t]        k = 1 ("subtract") or 1 - z ("zero")
    di[t]  = g[t]        d decay[t] = g[t] v[t-1]        G[t-1] = g[t] decay[t]

Source of backpropagation through spikes: Neftci, Mostafa, Zenke, IEEE Signal Processing Magazine 36 (2019).
Letters beyond core/shapes: K tokens from one kept membrane to the next, L neurons of a strip; C kept membranes of a
sequence. decay is [B, T, S] or, one for all tokens, [1, 1, S].
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

import math
from collections import namedtuple
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
from mambrane.kernels.blocks import block_range, clear, copy, count_tasks, scratch
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.prefetch import prefetch_strip, prefetch_strip_for_write
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import (
    LANES,
    STRIP_LANES,
    lanes_of,
    load_strip,
    store_strip,
    where_ge,
    zeros,
)
from mambrane.ops.lif.reference import LifOutput, Reset, Surrogate

CHECKPOINT_TOKENS = 16
"""Tokens that the backward pass runs again at a time; their membranes stay in the cache of a core."""

PREFETCH_TOKENS = 2
"""How far ahead of the forward pass rows are fetched."""


def lif_numba(
    current_BTS: Tensor,
    decay: Tensor,
    *,
    threshold: float,
    state_BS: Tensor | None,
    resets_BT: Tensor | None,
    reset: Reset,
    detach_reset: bool,
    surrogate: Surrogate,
    surrogate_slope: float,
    keep_membranes: bool,
) -> LifOutput:
    """Return spikes, membranes and the last state; arguments as in `mambrane.ops.lif.lif`."""
    dtype, (batch, _, units) = compute_dtype(current_BTS), current_BTS.shape
    if state_BS is None:
        state_BS = current_BTS.new_zeros(batch, units)
    decay_BTS = decay if decay.ndim == 3 else decay.expand(1, 1, units)
    spikes_BTS, membrane_BTS, state_BS, _ = _lif(
        *(each.to(dtype).contiguous() for each in (current_BTS, decay_BTS, state_BS)),
        no_resets(current_BTS) if resets_BT is None else resets_BT.contiguous(),
        threshold,
        reset == "subtract",
        detach_reset,
        surrogate == "fast_sigmoid",
        surrogate_slope,
        keep_membranes,
    )
    membrane_BTS = membrane_BTS.to(current_BTS.dtype) if keep_membranes else None
    return LifOutput(spikes_BTS.to(current_BTS.dtype), membrane_BTS, state_BS)


class _Inputs(NamedTuple):
    current_BTS: Tensor
    decay_BTS: Tensor
    state_BS: Tensor
    resets_BT: Tensor
    threshold: float
    subtracts: bool
    detaches_reset: bool
    is_fast_sigmoid: bool
    slope: float
    keeps_membranes: bool


class _Outputs(NamedTuple):
    spikes_BTS: Tensor
    membrane_BTS: Tensor
    """Before the reset; T = 0 if not saved."""
    last_BS: Tensor
    checkpoints_BCS: Tensor


_Saved = namedtuple(
    "_Saved",
    "current_BTS decay_BTS resets_BT checkpoints_BCS threshold subtracts detaches_reset is_fast_sigmoid slope",
)


def _make_outputs(inputs: _Inputs) -> _Outputs:
    batch, tokens, units = inputs.current_BTS.shape
    return _Outputs(
        torch.empty_like(inputs.current_BTS),
        inputs.current_BTS.new_empty(batch, tokens if inputs.keeps_membranes else 0, units),
        torch.empty_like(inputs.state_BS),
        inputs.current_BTS.new_empty(batch, -(-tokens // CHECKPOINT_TOKENS), units),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    num_tasks, work_ns = count_tasks(*inputs.state_BS.shape), 0.2 * inputs.current_BTS.numel()
    parallel_for(_forward, num_tasks, *arrays(*inputs, *outputs), work_ns=work_ns)


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    """Return the gradients of current, decay (its shape) and the first state; output gradients may be [1, 1, S]."""
    current_BTS, (batch, tokens, units) = saved.current_BTS, saved.current_BTS.shape
    is_per_token = saved.decay_BTS.shape == current_BTS.shape
    grad_current_BTS, grad_first_BS = torch.empty_like(current_BTS), torch.empty_like(grads.last_BS)
    grad_decay_BTS = current_BTS.new_empty(batch, tokens if is_per_token else 1, units)
    parallel_for(
        _backward,
        count_tasks(batch, units),
        *arrays(*grads[:3], *saved, grad_current_BTS, grad_decay_BTS, grad_first_BS),
        work_ns=0.4 * current_BTS.numel(),
    )
    if not is_per_token:
        grad_decay_BTS = ordered_sum(grad_decay_BTS).unsqueeze(0)
    return grad_current_BTS, grad_decay_BTS, grad_first_BS


def _make_zeros(saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    """Return one row of zeros for an output of all tokens that nothing reads."""
    batch, _, units = saved.current_BTS.shape
    return *(saved.current_BTS.new_zeros(1, 1, units),) * 2, saved.current_BTS.new_zeros(batch, units)


_lif = differentiable(
    "lif",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Saved._fields,
    gradients={"current_BTS": "current_BTS", "decay_BTS": "decay_BTS", "state_BS": "last_BS"},
    internal=("checkpoints_BCS",),
    make_zeros=_make_zeros,
)


@kernel(fuses=False)
def _forward(first, last, *arguments):
    """Run tasks first, ..., last - 1; arguments as of `_run`."""
    for task in range(first, last):
        width = _width(task, arguments[0])
        if width >= STRIP_LANES:
            _run(zeros(arguments[0], STRIP_LANES), task, *arguments)
        elif width >= LANES:
            _run(zeros(arguments[0], LANES), task, *arguments)
        else:
            _run(zeros(arguments[0], 1), task, *arguments)


@kernel()
def _width(task, x_BTS):
    """Return the neurons of the block of a task."""
    _, _, start, stop = block_range(task, x_BTS.shape[2])
    return stop - start


@kernel(fuses=False)
def _run(zero_L, task, *arguments):
    """Run a task in strips of L neurons."""
    inputs, outputs = _Inputs(*arguments[:10]), _Outputs(*arguments[10:])
    current_BTS, decay_BTS, resets_BT = inputs.current_BTS, inputs.decay_BTS, inputs.resets_BT
    threshold, num_lanes = current_BTS.dtype.type(inputs.threshold), lanes_of(zero_L)
    b, _, start, stop = block_range(task, current_BTS.shape[2])
    # Strips that overlap read what the token before left, and write what the next one will read.
    v_2S = scratch(2, stop - start, current_BTS)
    copy(inputs.state_BS[b][start:stop], v_2S[0])
    for t in range(current_BTS.shape[1]):
        v_S, next_S = v_2S[t % 2], v_2S[(t + 1) % 2]
        if t % CHECKPOINT_TOKENS == 0:
            copy(v_S, outputs.checkpoints_BCS[b, t // CHECKPOINT_TOKENS][start:stop])
        if resets_BT[b, t]:
            clear(v_S)
        ahead = min(t + PREFETCH_TOKENS, current_BTS.shape[1] - 1)
        current_S, decay_S, spikes_S = current_BTS[b, t], decay_BTS[_row(decay_BTS, b, t)], outputs.spikes_BTS[b, t]
        for strip in range(start, stop, num_lanes):
            s = min(strip, stop - num_lanes)
            prefetch_strip(zero_L, current_BTS[b, ahead], s)
            prefetch_strip_for_write(zero_L, outputs.spikes_BTS[b, ahead], s)
            v_L = load_strip(zero_L, v_S, s - start)
            decay_L, current_L = load_strip(zero_L, decay_S, s), load_strip(zero_L, current_S, s)
            before_L, spikes_L, v_L = _advance(v_L, decay_L, current_L, threshold, inputs.subtracts)
            store_strip(spikes_L, spikes_S, s)
            if outputs.membrane_BTS.shape[1] > 0:
                store_strip(before_L, outputs.membrane_BTS[b, t], s)
            store_strip(v_L, next_S, s - start)
    copy(v_2S[current_BTS.shape[1] % 2], outputs.last_BS[b][start:stop])


@kernel(fuses=False)
def _advance(v_L, decay_L, current_L, threshold, subtracts):
    """Return v before the reset, the spikes and v after the reset."""
    dtype = type(threshold)
    before_L = decay_L * v_L + current_L
    spikes_L = where_ge(before_L, threshold, dtype(1), dtype(0))
    return before_L, spikes_L, before_L - (threshold * spikes_L if subtracts else before_L * spikes_L)


@kernel()
def _row(x_BTS, b, t):
    """Return where the row of a token stands; an array of one sequence or of one token is the same for all."""
    return min(b, x_BTS.shape[0] - 1), min(t, x_BTS.shape[1] - 1)


@kernel()
def _backward(first, last, *arguments):
    """Go back through tasks first, ..., last - 1; arguments as of `_run_back`."""
    for task in range(first, last):
        width = _width(task, arguments[3])
        if width >= STRIP_LANES:
            _run_back(zeros(arguments[3], STRIP_LANES), task, *arguments)
        elif width >= LANES:
            _run_back(zeros(arguments[3], LANES), task, *arguments)
        else:
            _run_back(zeros(arguments[3], 1), task, *arguments)


@kernel()
def _run_back(zero_L, task, *arguments):
    """Go back through a task in strips of L neurons."""
    grad_spikes_BTS, grad_membrane_BTS, grad_last_BS = arguments[:3]
    saved, (grad_current_BTS, grad_decay_BTS, grad_first_BS) = _Saved(*arguments[3:12]), arguments[12:]
    current_BTS, decay_BTS, resets_BT, checkpoints_BCS = arguments[3:7]
    num_tokens, num_lanes, last_checkpoint = current_BTS.shape[1], lanes_of(zero_L), checkpoints_BCS.shape[1] - 1
    threshold = current_BTS.dtype.type(saved.threshold)
    is_per_token = grad_decay_BTS.shape[1] == num_tokens
    b, _, start, stop = block_range(task, current_BTS.shape[2])
    width = stop - start
    # Strips that overlap read what the tokens after these left, and write what those before will read.
    grad_v_2S, grad_decay_2S = scratch(2, width, current_BTS), scratch(2, width, current_BTS)
    before_KL = scratch(CHECKPOINT_TOKENS, num_lanes, current_BTS)
    previous_KL = scratch(CHECKPOINT_TOKENS, num_lanes, current_BTS)
    copy(grad_last_BS[b][start:stop], grad_v_2S[last_checkpoint % 2])
    clear(grad_decay_2S[last_checkpoint % 2])
    for c in range(last_checkpoint, -1, -1):
        token, end = c * CHECKPOINT_TOKENS, min((c + 1) * CHECKPOINT_TOKENS, num_tokens)
        for strip in range(start, stop, num_lanes):
            s = min(strip, stop - num_lanes)
            v_L = load_strip(zero_L, checkpoints_BCS[b, c], s)
            for t in range(token, end):
                if resets_BT[b, t]:
                    v_L = zero_L
                store_strip(v_L, previous_KL[t - token], 0)
                decay_L = load_strip(zero_L, decay_BTS[_row(decay_BTS, b, t)], s)
                current_L = load_strip(zero_L, current_BTS[b, t], s)
                before_L, _, v_L = _advance(v_L, decay_L, current_L, threshold, saved.subtracts)
                store_strip(before_L, before_KL[t - token], 0)
            grad_v_L = load_strip(zero_L, grad_v_2S[c % 2], s - start)
            grad_decay_L = load_strip(zero_L, grad_decay_2S[c % 2], s - start)
            for t in range(end - 1, token - 1, -1):
                ahead = max(t - CHECKPOINT_TOKENS, 0)
                prefetch_strip(zero_L, current_BTS[b, ahead], s)
                prefetch_strip(zero_L, grad_spikes_BTS[_row(grad_spikes_BTS, b, ahead)], s)
                prefetch_strip_for_write(zero_L, grad_current_BTS[b, ahead], s)
                grad_L = _go_back(
                    load_strip(zero_L, grad_spikes_BTS[_row(grad_spikes_BTS, b, t)], s),
                    load_strip(zero_L, grad_membrane_BTS[_row(grad_membrane_BTS, b, t)], s),
                    load_strip(zero_L, before_KL[t - token], 0),
                    grad_v_L,
                    threshold,
                    saved,
                )
                store_strip(grad_L, grad_current_BTS[b, t], s)
                term_L = grad_L * load_strip(zero_L, previous_KL[t - token], 0)
                if is_per_token:
                    store_strip(term_L, grad_decay_BTS[b, t], s)
                grad_decay_L = grad_decay_L + term_L
                grad_v_L = grad_L * load_strip(zero_L, decay_BTS[_row(decay_BTS, b, t)], s)
                if resets_BT[b, t]:
                    grad_v_L = zero_L
            store_strip(grad_v_L, grad_v_2S[(c + 1) % 2], s - start)
            store_strip(grad_decay_L, grad_decay_2S[(c + 1) % 2], s - start)
    copy(grad_v_2S[1], grad_first_BS[b][start:stop])
    if not is_per_token:
        copy(grad_decay_2S[1], grad_decay_BTS[b, 0][start:stop])


@kernel()
def _go_back(grad_spikes_L, grad_membrane_L, before_L, grad_v_L, threshold, saved):
    """Return the gradient of v before the reset, from that of v after it."""
    dtype = type(threshold)
    one, zero, x_L = dtype(1), dtype(0), before_L - threshold
    if saved.is_fast_sigmoid:
        base_L = one + dtype(saved.slope) * abs(x_L)
        slope_L = one / (base_L * base_L)
    else:
        steepness = dtype(math.pi / 2 * saved.slope)
        slope_L = dtype(saved.slope / 2) / (one + (steepness * x_L) * (steepness * x_L))
    if not saved.detaches_reset:
        grad_spikes_L = grad_spikes_L - (threshold * grad_v_L if saved.subtracts else before_L * grad_v_L)
    kept_L = grad_v_L if saved.subtracts else where_ge(x_L, zero, zero, grad_v_L)
    return grad_membrane_L + kept_L + slope_L * grad_spikes_L
