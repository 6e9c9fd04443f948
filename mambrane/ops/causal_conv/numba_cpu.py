"""Causal depthwise convolution with SiLU on the CPU: one kernel forward, one backward.

The formula stands in `reference.py`. A task is one sequence and one block of channels; the innermost loop runs over
neighbouring channels. The backward pass recomputes u, so that nothing but the input is kept:

    du[t] = dy[t] s (1 + u (1 - s)),  s = sigmoid(u[t])        dx[t] = sum over k of weight[k] du[t + (K-1) - k]
    d weight[k] = sum over t of du[t] x[t - (K-1) + k]         d bias = sum over t of du[t]

The past inputs and the weight are kept as [B, K-1, E] and [K, E] inside.
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels, torch those of shape functions

from typing import Any

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, inner_type, no_resets, ordered_sum, require_shape, require_tokens
from mambrane.kernels.blocks import add, clear, copy, count_tasks, locate, scratch, widest
from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_math import sigmoid
from mambrane.kernels.operator import operator
from mambrane.kernels.threads import share_out
from mambrane.ops.causal_conv.reference import Activation


def causal_conv_numba(
    x_BTE: Tensor,
    weight_EK: Tensor,
    bias_E: Tensor,
    *,
    state_BEK: Tensor | None,
    resets_BT: Tensor | None,
    activation: Activation,
) -> tuple[Tensor, Tensor]:
    """Return y and the last K-1 inputs; arguments as in `mambrane.ops.causal_conv.causal_conv`."""
    dtype, (batch, _, channels), taps = inner_type(x_BTE), x_BTE.shape, weight_EK.shape[1]
    require_tokens("x_BTE", x_BTE)
    require_shape("weight_EK", weight_EK, (channels, taps))
    require_shape("bias_E", bias_E, (channels,))
    require_shape("state_BEK", state_BEK, (batch, channels, taps - 1))
    require_shape("resets_BT", resets_BT, x_BTE.shape[:2])
    if state_BEK is None:
        state_BEK = x_BTE.new_zeros(batch, taps - 1, channels).transpose(1, 2)
    y_BTE, state_BKE = _conv(
        *(each.to(dtype).contiguous() for each in (x_BTE, weight_EK.t(), bias_E, state_BEK.transpose(1, 2))),
        no_resets(x_BTE) if resets_BT is None else resets_BT.contiguous(),
        activation == "silu",
    )
    return y_BTE.to(x_BTE.dtype), state_BKE.transpose(1, 2)


@operator("causal_conv")
def _conv(
    x_BTE: Tensor, weight_KE: Tensor, bias_E: Tensor, state_BKE: Tensor, resets_BT: Tensor, applies_silu: bool
) -> tuple[Tensor, Tensor]:
    """Return y [B, T, E] and the last inputs [B, K-1, E]."""
    outputs = torch.empty_like(x_BTE), torch.empty_like(state_BKE)
    share_out(
        _forward,
        count_tasks(x_BTE.shape[0], x_BTE.shape[2]),
        *arrays(x_BTE, weight_KE, bias_E, state_BKE, resets_BT),
        applies_silu,
        *arrays(*outputs),
        work_ns=0.15 * x_BTE.numel() * weight_KE.shape[0],
    )
    return outputs


@_conv.register_shapes
def _(x_BTE: Tensor, weight_KE: Tensor, bias_E: Tensor, state_BKE: Tensor, resets_BT: Tensor, applies_silu: bool):
    return torch.empty_like(x_BTE), torch.empty_like(state_BKE)


@operator("causal_conv_backward")
def _conv_backward(
    grad_y_BTE: Tensor,
    grad_last_BKE: Tensor,
    x_BTE: Tensor,
    weight_KE: Tensor,
    bias_E: Tensor,
    state_BKE: Tensor,
    resets_BT: Tensor,
    applies_silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight [K, E], bias and the past inputs [B, K-1, E]."""
    batch, channels = x_BTE.shape[0], x_BTE.shape[2]
    grad_x_BTE, grad_past_BKE = torch.zeros_like(x_BTE), torch.zeros_like(state_BKE)
    partial_weight_BKE, partial_bias_BE = x_BTE.new_zeros(batch, *weight_KE.shape), x_BTE.new_zeros(batch, channels)
    share_out(
        _backward,
        count_tasks(batch, channels),
        *arrays(grad_y_BTE, grad_last_BKE, x_BTE, weight_KE, bias_E, state_BKE, resets_BT),
        applies_silu,
        *arrays(grad_x_BTE, partial_weight_BKE, partial_bias_BE, grad_past_BKE),
        work_ns=0.3 * x_BTE.numel() * weight_KE.shape[0],
    )
    sums = (ordered_sum(partial) for partial in (partial_weight_BKE, partial_bias_BE))
    return grad_x_BTE, *sums, grad_past_BKE


@_conv_backward.register_shapes
def _(
    grad_y_BTE: Tensor,
    grad_last_BKE: Tensor,
    x_BTE: Tensor,
    weight_KE: Tensor,
    bias_E: Tensor,
    state_BKE: Tensor,
    resets_BT: Tensor,
    applies_silu: bool,
):
    return tuple(torch.empty_like(each) for each in (x_BTE, weight_KE, bias_E, state_BKE))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 -- torch's own
    *tensors, ctx.applies_silu = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch's own
    x_BTE, _, _, state_BKE, _ = saved = ctx.saved_tensors
    given = (torch.zeros_like(x) if grad is None else grad for grad, x in zip(grads, (x_BTE, state_BKE), strict=True))
    return *_conv_backward(*(grad.contiguous() for grad in given), *saved, ctx.applies_silu), None, None


_conv.register_gradients(_differentiate, _save)


@kernel()
def _forward(first, last, x_BTE, weight_KE, bias_E, state_BKE, resets_BT, applies_silu, y_BTE, last_BKE):
    """Filter tasks first, ..., last - 1."""
    num_tokens, num_past = x_BTE.shape[1], state_BKE.shape[1]
    for task in range(first, last):
        b, _, start, stop = locate(task, x_BTE.shape[2])
        # Inputs before this token belong to another document; the past inputs stand at -num_past, ..., -1.
        oldest = -num_past
        for t in range(num_tokens):
            if resets_BT[b, t]:
                oldest = t
            y_W = y_BTE[b, t][start:stop]
            _filter(t, oldest, x_BTE[b], state_BKE[b], weight_KE, bias_E, start, y_W)
            if applies_silu:
                _silu(y_W)
        for k in range(num_past):
            t, last_W = num_tokens - num_past + k, last_BKE[b, k][start:stop]
            if t < oldest:
                clear(last_W)
            elif t < 0:
                copy(state_BKE[b, num_past + t][start:stop], last_W)
            else:
                copy(x_BTE[b, t][start:stop], last_W)


@kernel()
def _first_tap(t, oldest, num_past):
    """Return the first tap whose input belongs to the document of token t."""
    return max(0, oldest - (t - num_past))


@kernel()
def _filter(t, oldest, x_TE, state_KE, weight_KE, bias_E, start, u_W):
    """Write u[t], the filter's output before the activation."""
    num_past, stop = state_KE.shape[0], start + u_W.size
    copy(bias_E[start:stop], u_W)
    for k in range(_first_tap(t, oldest, num_past), num_past + 1):
        past = t - num_past + k
        x_E = x_TE[past] if past >= 0 else state_KE[num_past + past]
        _add_product(weight_KE[k][start:stop], x_E[start:stop], u_W)


@kernel()
def _add_product(left_W, right_W, sum_W):
    for w in range(sum_W.size):
        sum_W[w] += left_W[w] * right_W[w]


@kernel()
def _silu(u_W):
    for w in range(u_W.size):
        u_W[w] = u_W[w] * sigmoid(u_W[w])


@kernel()
def _backward(
    first,
    last,
    grad_y_BTE,
    grad_last_BKE,
    x_BTE,
    weight_KE,
    bias_E,
    state_BKE,
    resets_BT,
    applies_silu,
    grad_x_BTE,
    grad_weight_BKE,
    grad_bias_BE,
    grad_past_BKE,
):
    """Go back through tasks first, ..., last - 1; all gradients start as zeros and are added to."""
    num_tokens, num_past = x_BTE.shape[1], state_BKE.shape[1]
    rows_2W = scratch(2, widest(x_BTE.shape[2]), x_BTE)
    for task in range(first, last):
        b, _, start, stop = locate(task, x_BTE.shape[2])
        grad_u_W, u_W = rows_2W[0, : stop - start], rows_2W[1, : stop - start]
        oldest = -num_past
        for t in range(num_tokens):
            if resets_BT[b, t]:
                oldest = t
            copy(grad_y_BTE[b, t][start:stop], grad_u_W)
            if applies_silu:
                _filter(t, oldest, x_BTE[b], state_BKE[b], weight_KE, bias_E, start, u_W)
                _differentiate_silu(u_W, grad_u_W)
            add(grad_u_W, grad_bias_BE[b][start:stop])
            for k in range(_first_tap(t, oldest, num_past), num_past + 1):
                past = t - num_past + k
                x_E = x_BTE[b, past] if past >= 0 else state_BKE[b, num_past + past]
                grad_x_E = grad_x_BTE[b, past] if past >= 0 else grad_past_BKE[b, num_past + past]
                _add_product(grad_u_W, x_E[start:stop], grad_weight_BKE[b, k][start:stop])
                _add_product(grad_u_W, weight_KE[k][start:stop], grad_x_E[start:stop])
        for k in range(num_past):
            t = num_tokens - num_past + k
            grad_x_E = grad_x_BTE[b, t] if t >= 0 else grad_past_BKE[b, num_past + t]
            if t >= oldest:
                add(grad_last_BKE[b, k][start:stop], grad_x_E[start:stop])


@kernel()
def _differentiate_silu(u_W, grad_W):
    """Turn the gradient of silu(u) into that of u, in place."""
    one = u_W.dtype.type(1)
    for w in range(grad_W.size):
        s = sigmoid(u_W[w])
        grad_W[w] *= s * (one + u_W[w] * (one - s))
