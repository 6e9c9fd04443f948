"""Causal depthwise convolution with SiLU on the CPU: one kernel forward, one backward.

The formula is in `reference.py`. A task is one sequence and one block of channels; the innermost loop runs over
neighbouring channels. The backward pass recomputes u, so that nothing but the input is kept:

    du[t] = dy[t] s (1 + u (1 - s)),  s = sigmoid(u[t])        dx[t] = sum over k of weight[k] du[t + (K-1) - k]
    d weight[k] = sum over t of du[t] x[t - (K-1) + k]         d bias = sum over t of du[t]

The past inputs and the weight are kept as [B, K-1, E] and [K, E] inside.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
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
    dtype = compute_dtype(x_BTE)
    if state_BEK is None:
        state_BEK = x_BTE.new_zeros(x_BTE.shape[0], x_BTE.shape[2], weight_EK.shape[1] - 1)
    y_BTE, state_BKE = _conv(
        *(each.to(dtype).contiguous() for each in (x_BTE, weight_EK.t(), bias_E, state_BEK.transpose(1, 2))),
        no_resets(x_BTE) if resets_BT is None else resets_BT.contiguous(),
        activation == "silu",
    )
    return y_BTE.to(x_BTE.dtype), state_BKE.transpose(1, 2)


class _Inputs(NamedTuple):
    x_BTE: Tensor
    weight_KE: Tensor
    bias_E: Tensor
    state_BKE: Tensor
    resets_BT: Tensor
    applies_silu: bool


class _Outputs(NamedTuple):
    y_BTE: Tensor
    last_BKE: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.x_BTE), torch.empty_like(inputs.state_BKE))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    parallel_for(
        _forward,
        count_tasks(inputs.x_BTE.shape[0], inputs.x_BTE.shape[2]),
        *arrays(*inputs, *outputs),
        work_ns=0.15 * inputs.x_BTE.numel() * inputs.weight_KE.shape[0],
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x_BTE, weight_KE = saved.x_BTE, saved.weight_KE
    batch, channels = x_BTE.shape[0], x_BTE.shape[2]
    grad_x_BTE, grad_past_BKE = torch.zeros_like(x_BTE), torch.zeros_like(saved.state_BKE)
    partial_weight_BKE, partial_bias_BE = x_BTE.new_zeros(batch, *weight_KE.shape), x_BTE.new_zeros(batch, channels)
    parallel_for(
        _backward,
        count_tasks(batch, channels),
        *arrays(*grads, *saved, grad_x_BTE, partial_weight_BKE, partial_bias_BE, grad_past_BKE),
        work_ns=0.3 * x_BTE.numel() * weight_KE.shape[0],
    )
    sums = (ordered_sum(partial) for partial in (partial_weight_BKE, partial_bias_BE))
    return grad_x_BTE, *sums, grad_past_BKE


_conv = differentiable(
    "causal_conv",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Inputs._fields,
    gradients={name: name for name in ("x_BTE", "weight_KE", "bias_E", "state_BKE")},
)


@kernel()
def _forward(first, last, *arguments):
    """Filter tasks first, ..., last - 1."""
    inputs, outputs = _Inputs(*arguments[:6]), _Outputs(*arguments[6:])
    (_, num_tokens, channels), num_past = inputs.x_BTE.shape, inputs.state_BKE.shape[1]
    for task in range(first, last):
        b, _, start, stop = block_range(task, channels)
        # Inputs before this token belong to another document; the past inputs stand at -num_past, ..., -1.
        oldest = -num_past
        for t in range(num_tokens):
            if inputs.resets_BT[b, t]:
                oldest = t
            y_W = outputs.y_BTE[b, t][start:stop]
            _filter(t, oldest, inputs, b, start, y_W)
            if inputs.applies_silu:
                _silu(y_W)
        for k in range(num_past):
            t, last_W = num_tokens - num_past + k, outputs.last_BKE[b, k][start:stop]
            if t < oldest:
                clear(last_W)
            elif t < 0:
                copy(inputs.state_BKE[b, num_past + t][start:stop], last_W)
            else:
                copy(inputs.x_BTE[b, t][start:stop], last_W)


@kernel()
def _first_tap(t, oldest, num_past):
    """Return the first tap whose input belongs to the document of token t."""
    return max(0, oldest - (t - num_past))


@kernel()
def _filter(t, oldest, inputs, b, start, u_W):
    """Write u[t], the filter's output before the activation."""
    num_past, stop = inputs.state_BKE.shape[1], start + u_W.size
    copy(inputs.bias_E[start:stop], u_W)
    for k in range(_first_tap(t, oldest, num_past), num_past + 1):
        past = t - num_past + k
        x_E = inputs.x_BTE[b, past] if past >= 0 else inputs.state_BKE[b, num_past + past]
        _add_product(inputs.weight_KE[k][start:stop], x_E[start:stop], u_W)


@kernel()
def _add_product(left_W, right_W, sum_W):
    for w in range(sum_W.size):
        sum_W[w] += left_W[w] * right_W[w]


@kernel()
def _silu(u_W):
    for w in range(u_W.size):
        u_W[w] = u_W[w] * sigmoid(u_W[w])


@kernel()
def _backward(first, last, *arguments):
    """Go back through tasks first, ..., last - 1; all gradients start as zeros and are added to."""
    (grad_y_BTE, grad_last_BKE), inputs = arguments[:2], _Inputs(*arguments[2:8])
    grad_x_BTE, grad_weight_BKE, grad_bias_BE, grad_past_BKE = arguments[8:]
    (_, num_tokens, channels), num_past = inputs.x_BTE.shape, inputs.state_BKE.shape[1]
    rows_2W = scratch(2, block_width(channels), inputs.x_BTE)
    for task in range(first, last):
        b, _, start, stop = block_range(task, channels)
        grad_u_W, u_W = rows_2W[0, : stop - start], rows_2W[1, : stop - start]
        oldest = -num_past
        for t in range(num_tokens):
            if inputs.resets_BT[b, t]:
                oldest = t
            copy(grad_y_BTE[b, t][start:stop], grad_u_W)
            if inputs.applies_silu:
                _filter(t, oldest, inputs, b, start, u_W)
                _differentiate_silu(u_W, grad_u_W)
            add(grad_u_W, grad_bias_BE[b][start:stop])
            for k in range(_first_tap(t, oldest, num_past), num_past + 1):
                past = t - num_past + k
                x_E = inputs.x_BTE[b, past] if past >= 0 else inputs.state_BKE[b, num_past + past]
                grad_x_E = grad_x_BTE[b, past] if past >= 0 else grad_past_BKE[b, num_past + past]
                _add_product(grad_u_W, x_E[start:stop], grad_weight_BKE[b, k][start:stop])
                _add_product(grad_u_W, inputs.weight_KE[k][start:stop], grad_x_E[start:stop])
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
