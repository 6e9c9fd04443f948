"""Leaky integrate-and-fire neurons on the CPU: one kernel forward, one backward.

The formula stands in `reference.py`. A task is one sequence and one block of neurons; the loop over tokens is outside,
the loop over neighbouring neurons inside, as vector instructions. The forward pass does not fuse products and sums, so
that spikes equal the reference's bit for bit.

The forward pass writes membranes only where they are asked for; it keeps v at every KEPT_EVERY_TOKENS-th token, from
which the backward pass runs a few tokens again. With G[t] the gradient of v[t], after the reset:

    gz[t]  = dL/dz[t] - r[t] G[t]             r = threshold ("subtract") or v' ("zero"); 0 where the reset is detached
    g[t]   = dL/dv'[t] + k[t] G[t] + surrogate(v'[t] - threshold) gz[t]        k = 1 ("subtract") or 1 - z ("zero")
    di[t]  = g[t]        d decay[t] = g[t] v[t-1]        G[t-1] = g[t] decay[t]

Source of backpropagation through spikes: Neftci, Mostafa, Zenke, IEEE Signal Processing Magazine 36 (2019).
Letters beyond core/shapes: W units of a block; K tokens from one kept membrane to the next; C kept membranes of a
sequence. decay is [B, T, S] or, one for all tokens, [1, 1, S].
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels, torch those of shape functions

import math
from typing import Any

import torch
from torch import Tensor

from mambrane.ops.arguments import arrays, inner_type, no_resets, ordered_sum, require_shape, require_tokens
from mambrane.ops.blocks import clear, copy, count_tasks, locate, scratch, widest
from mambrane.ops.compiled import kernel
from mambrane.ops.lif.reference import LifOutput, Reset, Surrogate
from mambrane.ops.threads import share_out

KEPT_EVERY_TOKENS = 16
"""Tokens that the backward pass runs again at a time; their membranes stay in the cache of a core."""


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
    dtype, (batch, _, units) = inner_type(current_BTS), current_BTS.shape
    require_tokens("current_BTS", current_BTS)
    require_shape("decay", decay, current_BTS.shape if decay.ndim == 3 else (units,))
    require_shape("state_BS", state_BS, (batch, units))
    require_shape("resets_BT", resets_BT, current_BTS.shape[:2])
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


@torch.library.custom_op("mambrane::lif", mutates_args=())
def _lif(
    current_BTS: Tensor,
    decay_BTS: Tensor,
    state_BS: Tensor,
    resets_BT: Tensor,
    threshold: float,
    subtracts: bool,
    detaches_reset: bool,
    is_fast_sigmoid: bool,
    slope: float,
    keeps_membranes: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return spikes [B, T, S], membranes before the reset (T = 0 if not kept), last state [B, S], kept v [B, C, S]."""
    outputs = _lif_outputs(
        current_BTS,
        decay_BTS,
        state_BS,
        resets_BT,
        threshold,
        subtracts,
        detaches_reset,
        is_fast_sigmoid,
        slope,
        keeps_membranes,
    )
    inputs = arrays(current_BTS, decay_BTS, state_BS, resets_BT)
    share_out(
        _forward,
        count_tasks(*state_BS.shape),
        *inputs,
        inputs[0].dtype.type(threshold),
        subtracts,
        *arrays(*outputs),
        work_ns=0.3 * current_BTS.numel(),
    )
    return outputs


@_lif.register_fake
def _lif_outputs(
    current_BTS: Tensor,
    decay_BTS: Tensor,
    state_BS: Tensor,
    resets_BT: Tensor,
    threshold: float,
    subtracts: bool,
    detaches_reset: bool,
    is_fast_sigmoid: bool,
    slope: float,
    keeps_membranes: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, tokens, units = current_BTS.shape
    return (
        torch.empty_like(current_BTS),
        current_BTS.new_empty(batch, tokens if keeps_membranes else 0, units),
        torch.empty_like(state_BS),
        current_BTS.new_empty(batch, -(-tokens // KEPT_EVERY_TOKENS), units),
    )


@torch.library.custom_op("mambrane::lif_backward", mutates_args=())
def _lif_backward(
    grad_spikes_BTS: Tensor,
    grad_membrane_BTS: Tensor,
    grad_last_BS: Tensor,
    current_BTS: Tensor,
    decay_BTS: Tensor,
    resets_BT: Tensor,
    kept_BCS: Tensor,
    threshold: float,
    subtracts: bool,
    detaches_reset: bool,
    is_fast_sigmoid: bool,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of current, decay (its shape) and the first state; output gradients may be [1, 1, S]."""
    batch, tokens, units = current_BTS.shape
    is_per_token = decay_BTS.shape == current_BTS.shape
    grad_current_BTS, grad_first_BS = torch.empty_like(current_BTS), torch.empty_like(grad_last_BS)
    grad_decay_BTS = current_BTS.new_empty(batch, tokens if is_per_token else 1, units)
    inputs = arrays(grad_spikes_BTS, grad_membrane_BTS, grad_last_BS, current_BTS, decay_BTS, resets_BT, kept_BCS)
    kind = inputs[0].dtype.type
    share_out(
        _backward,
        count_tasks(batch, units),
        *inputs,
        kind(threshold),
        subtracts,
        detaches_reset,
        is_fast_sigmoid,
        kind(slope if is_fast_sigmoid else math.pi / 2 * slope),
        kind(1 if is_fast_sigmoid else slope / 2),
        *arrays(grad_current_BTS, grad_decay_BTS, grad_first_BS),
        work_ns=0.8 * current_BTS.numel(),
    )
    if not is_per_token:
        grad_decay_BTS = ordered_sum(grad_decay_BTS).unsqueeze(0)
    return grad_current_BTS, grad_decay_BTS, grad_first_BS


@_lif_backward.register_fake
def _(
    grad_spikes_BTS: Tensor,
    grad_membrane_BTS: Tensor,
    grad_last_BS: Tensor,
    current_BTS: Tensor,
    decay_BTS: Tensor,
    resets_BT: Tensor,
    kept_BCS: Tensor,
    threshold: float,
    subtracts: bool,
    detaches_reset: bool,
    is_fast_sigmoid: bool,
    slope: float,
):
    return torch.empty_like(current_BTS), torch.empty_like(decay_BTS), torch.empty_like(grad_last_BS)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 -- torch's own
    current_BTS, decay_BTS, _, resets_BT, *ctx.options, _ = inputs
    ctx.save_for_backward(current_BTS, decay_BTS, resets_BT, output[3])
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch's own
    current_BTS, *_ = saved = ctx.saved_tensors
    batch, _, units = current_BTS.shape
    # An output that nothing reads has no gradient; one row of zeros stands for it.
    zeros = (current_BTS.new_zeros(1, 1, units),) * 2 + (current_BTS.new_zeros(batch, units),)
    given = (zero if grad is None else grad.contiguous() for grad, zero in zip(grads[:3], zeros, strict=True))
    return *_lif_backward(*given, *saved, *ctx.options), *(None,) * 7


_lif.register_autograd(_differentiate, setup_context=_save)


@kernel(fuses=False)
def _forward(
    first,
    last,
    current_BTS,
    decay_BTS,
    state_BS,
    resets_BT,
    threshold,
    subtracts,
    spikes_BTS,
    membrane_BTS,
    last_BS,
    kept_BCS,
):
    """Run tasks first, ..., last - 1."""
    rows_2W = scratch(2, widest(current_BTS.shape[2]), current_BTS)
    for task in range(first, last):
        b, _, start, stop = locate(task, current_BTS.shape[2])
        v_W, unread_W = rows_2W[0, : stop - start], rows_2W[1, : stop - start]
        copy(state_BS[b][start:stop], v_W)
        for t in range(current_BTS.shape[1]):
            if t % KEPT_EVERY_TOKENS == 0:
                copy(v_W, kept_BCS[b, t // KEPT_EVERY_TOKENS][start:stop])
            if resets_BT[b, t]:
                clear(v_W)
            _advance(
                current_BTS[b, t][start:stop],
                decay_BTS[_row(decay_BTS, b, t)][start:stop],
                threshold,
                subtracts,
                v_W,
                spikes_BTS[b, t][start:stop],
                membrane_BTS[b, t][start:stop] if membrane_BTS.shape[1] > 0 else unread_W,
            )
        copy(v_W, last_BS[b][start:stop])


@kernel(fuses=False)
def _advance(current_W, decay_W, threshold, subtracts, v_W, spikes_W, membrane_W):
    """Run the neurons of a block for one token; v is updated in place."""
    for w in range(v_W.size):
        membrane_W[w], spikes_W[w], v_W[w] = _tick(v_W[w], decay_W[w], current_W[w], threshold, subtracts)


@kernel(fuses=False)
def _advance_again(current_W, decay_W, threshold, subtracts, previous_W, membrane_W, next_W):
    """Write v before the reset and v after it."""
    for w in range(next_W.size):
        membrane_W[w], _, next_W[w] = _tick(previous_W[w], decay_W[w], current_W[w], threshold, subtracts)


@kernel(fuses=False)
def _tick(v, decay, current, threshold, subtracts):
    """Return v before the reset, the spike and v after the reset of one neuron."""
    before = decay * v + current
    kind = type(before)
    spike = kind(1) if before >= threshold else kind(0)
    return before, spike, before - (threshold if subtracts else before) * spike


@kernel()
def _row(x_BTS, b, t):
    """Return where the row of a token stands; an array of one sequence or of one token is the same for all."""
    return min(b, x_BTS.shape[0] - 1), min(t, x_BTS.shape[1] - 1)


@kernel()
def _backward(
    first,
    last,
    grad_spikes_BTS,
    grad_membrane_BTS,
    grad_last_BS,
    current_BTS,
    decay_BTS,
    resets_BT,
    kept_BCS,
    threshold,
    subtracts,
    detaches_reset,
    is_fast_sigmoid,
    steepness,
    height,
    grad_current_BTS,
    grad_decay_BTS,
    grad_first_BS,
):
    """Go back through tasks first, ..., last - 1."""
    width = widest(current_BTS.shape[2])
    grad_v_1W = scratch(1, width, current_BTS)
    # v before and after the reset; the latter starts with the token before.
    before_KW = scratch(KEPT_EVERY_TOKENS, width, current_BTS)
    after_KW = scratch(KEPT_EVERY_TOKENS + 1, width, current_BTS)
    for task in range(first, last):
        b, _, start, stop = locate(task, current_BTS.shape[2])
        width = stop - start
        grad_v_W = grad_v_1W[0, :width]
        copy(grad_last_BS[b][start:stop], grad_v_W)
        for t in range(grad_decay_BTS.shape[1]):
            clear(grad_decay_BTS[b, t][start:stop])
        for c in range(kept_BCS.shape[1] - 1, -1, -1):
            token, end = c * KEPT_EVERY_TOKENS, min((c + 1) * KEPT_EVERY_TOKENS, current_BTS.shape[1])
            copy(kept_BCS[b, c][start:stop], after_KW[0, :width])
            for t in range(token, end):
                if resets_BT[b, t]:
                    clear(after_KW[t - token, :width])
                _advance_again(
                    current_BTS[b, t][start:stop],
                    decay_BTS[_row(decay_BTS, b, t)][start:stop],
                    threshold,
                    subtracts,
                    after_KW[t - token, :width],
                    before_KW[t - token, :width],
                    after_KW[t - token + 1, :width],
                )
            for t in range(end - 1, token - 1, -1):
                _go_back(
                    grad_spikes_BTS[_row(grad_spikes_BTS, b, t)][start:stop],
                    grad_membrane_BTS[_row(grad_membrane_BTS, b, t)][start:stop],
                    before_KW[t - token, :width],
                    after_KW[t - token, :width],
                    decay_BTS[_row(decay_BTS, b, t)][start:stop],
                    resets_BT[b, t],
                    threshold,
                    subtracts,
                    detaches_reset,
                    is_fast_sigmoid,
                    steepness,
                    height,
                    grad_v_W,
                    grad_decay_BTS[_row(grad_decay_BTS, b, t)][start:stop],
                    grad_current_BTS[b, t][start:stop],
                )
        copy(grad_v_W, grad_first_BS[b][start:stop])


@kernel()
def _go_back(
    grad_spikes_W,
    grad_membrane_W,
    membrane_W,
    previous_W,
    decay_W,
    is_reset,
    threshold,
    subtracts,
    detaches_reset,
    is_fast_sigmoid,
    steepness,
    height,
    grad_v_W,
    grad_decay_W,
    grad_current_W,
):
    """Turn the gradient of v[t] into that of v[t-1], in place; write the current's and add to the decay's."""
    kind = membrane_W.dtype.type
    zero, one = kind(0), kind(1)
    keep = kind(0 if is_reset else 1)
    for w in range(grad_v_W.size):
        before, grad_v = membrane_W[w], grad_v_W[w]
        x = before - threshold
        kept = one if subtracts or x < zero else zero
        removed = zero if detaches_reset else threshold if subtracts else before
        base = one + steepness * abs(x)
        slope = height / (base * base if is_fast_sigmoid else one + (steepness * x) * (steepness * x))
        grad_spike = grad_spikes_W[w] - removed * grad_v
        grad = grad_membrane_W[w] + kept * grad_v + slope * grad_spike
        grad_current_W[w] = grad
        grad_decay_W[w] += grad * previous_W[w]
        grad_v_W[w] = keep * grad * decay_W[w]
