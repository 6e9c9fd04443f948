"""Causal depthwise convolution with SiLU on the CPU: one kernel forward, one backward.

The formula is in `reference.py`. A task is one sequence and one block of channels; the innermost loop runs over
neighbouring channels. The backward pass recomputes u, so that nothing but the input is kept:

    du[t] = dy[t] s (1 + u (1 - s)),  s = sigmoid(u[t])        dx[t] = sum over k of weight[k] du[t + (K-1) - k]
    d weight[k] = sum over t of du[t] x[t - (K-1) + k]         d bias = sum over t of du[t]

The past inputs and the weight are kept as [B, K-1, E] and [K, E] inside.
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels, torch those of shape functions

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum, require_shape, require_tokens
from mambrane.kernels.blocks import add, block_range, block_width, clear, copy, count_tasks, scratch
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import sigmoid
from mambrane.kernels.threads import parallel_for
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
    dtype, (batch, _, channels), taps = compute_dtype(x_BTE), x_BTE.shape, weight_EK.shape[1]
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


class _Arguments(NamedTuple):
    x_BTE: Tensor
    weight_KE: Tensor
    bias_E: Tensor
    state_BKE: Tensor
    resets_BT: Tensor
    applies_silu: bool


class _Outputs(NamedTuple):
    y_BTE: Tensor
    last_BKE: Tensor


def _make_outputs(inputs: _Arguments) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.x_BTE), torch.empty_like(inputs.state_BKE))


def _run_forward(inputs: _Arguments, outputs: _Outputs) -> None:
    *tensors, applies_silu = inputs
    parallel_for(
        _forward,
        count_tasks(inputs.x_BTE.shape[0], inputs.x_BTE.shape[2]),
        *arrays(*tensors),
        applies_silu,
        *arrays(*outputs),
        work_ns=0.15 * inputs.x_BTE.numel() * inputs.weight_KE.shape[0],
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    *tensors, applies_silu = saved
    x_BTE, weight_KE = saved.x_BTE, saved.weight_KE
    batch, channels = x_BTE.shape[0], x_BTE.shape[2]
    grad_x_BTE, grad_past_BKE = torch.zeros_like(x_BTE), torch.zeros_like(saved.state_BKE)
    partial_weight_BKE, partial_bias_BE = x_BTE.new_zeros(batch, *weight_KE.shape), x_BTE.new_zeros(batch, channels)
    parallel_for(
        _backward,
        count_tasks(batch, channels),
        *arrays(*grads, *tensors),
        applies_silu,
        *arrays(grad_x_BTE, partial_weight_BKE, partial_bias_BE, grad_past_BKE),
        work_ns=0.3 * x_BTE.numel() * weight_KE.shape[0],
    )
    sums = (ordered_sum(partial) for partial in (partial_weight_BKE, partial_bias_BE))
    return grad_x_BTE, *sums, grad_past_BKE


_conv = differentiable(
    "causal_conv",
    _Arguments,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Arguments._fields,
    gradients={name: name for name in ("x_BTE", "weight_KE", "bias_E", "state_BKE")},
)


@kernel()
def _forward(first, last, x_BTE, weight_KE, bias_E, state_BKE, resets_BT, applies_silu, y_BTE, last_BKE):
    """Filter tasks first, ..., last - 1."""
    num_tokens, num_past = x_BTE.shape[1], state_BKE.shape[1]
    for task in range(first, last):
        b, _, start, stop = block_range(task, x_BTE.shape[2])
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
    rows_2W = scratch(2, block_width(x_BTE.shape[2]), x_BTE)
    for task in range(first, last):
        b, _, start, stop = block_range(task, x_BTE.shape[2])
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
