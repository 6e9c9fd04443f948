"""Causal exponential trace on the CPU: one kernel forward, one backward.

The formula is in `reference.py`. A task is one sequence and one block of units. With g[t] the gradient of r[t]:

    g[t] = dL/dr[t] + decay g[t+1]        dx[t] = (1 - decay) g[t]        d decay = sum over t of g[t] (r[t-1] - x[t])
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from collections import namedtuple
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
from mambrane.kernels.blocks import block_range, block_width, clear, copy, count_tasks, scratch
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.threads import parallel_for


def causal_trace_numba(
    x_BTS: Tensor, decay: float | Tensor, *, state_BS: Tensor | None, resets_BT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the trace and its last value; arguments as in `mambrane.ops.causal_trace.causal_trace`."""
    dtype, (batch, _, units) = compute_dtype(x_BTS), x_BTS.shape
    decay_S = decay if isinstance(decay, Tensor) else x_BTS.new_full((units,), decay, dtype=dtype)
    if state_BS is None:
        state_BS = x_BTS.new_zeros(batch, units)
    trace_BTS, last_BS = _trace(
        *(each.to(dtype).contiguous() for each in (x_BTS, decay_S, state_BS)),
        no_resets(x_BTS) if resets_BT is None else resets_BT.contiguous(),
    )
    return trace_BTS.to(x_BTS.dtype), last_BS


class _Inputs(NamedTuple):
    x_BTS: Tensor
    decay_S: Tensor
    state_BS: Tensor
    resets_BT: Tensor


class _Outputs(NamedTuple):
    trace_BTS: Tensor
    last_BS: Tensor


_Saved = namedtuple("_Saved", "x_BTS trace_BTS decay_S state_BS resets_BT")


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.x_BTS), torch.empty_like(inputs.state_BS))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    num_tasks = count_tasks(*inputs.state_BS.shape)
    parallel_for(_forward, num_tasks, *arrays(*inputs, *outputs), work_ns=0.2 * inputs.x_BTS.numel())


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    grad_x_BTS, grad_first_BS, partial_decay_BS = (
        torch.empty_like(each) for each in (saved.x_BTS, saved.state_BS, saved.state_BS)
    )
    parallel_for(
        _backward,
        count_tasks(*saved.state_BS.shape),
        *arrays(*grads, *saved, grad_x_BTS, partial_decay_BS, grad_first_BS),
        work_ns=0.5 * saved.x_BTS.numel(),
    )
    return grad_x_BTS, ordered_sum(partial_decay_BS), grad_first_BS


_trace = differentiable(
    "causal_trace",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Saved._fields,
    gradients={"x_BTS": "x_BTS", "decay_S": "decay_S", "state_BS": "state_BS"},
)


@kernel()
def _forward(first, last, *arguments):
    """Run tasks first, ..., last - 1."""
    inputs, outputs = _Inputs(*arguments[:4]), _Outputs(*arguments[4:])
    _, num_tokens, units = inputs.x_BTS.shape
    r_1W = scratch(1, block_width(units), inputs.x_BTS)
    for task in range(first, last):
        b, _, start, stop = block_range(task, units)
        r_W = r_1W[0, : stop - start]
        copy(inputs.state_BS[b][start:stop], r_W)
        for t in range(num_tokens):
            if inputs.resets_BT[b, t]:
                clear(r_W)
            x_W, trace_W = inputs.x_BTS[b, t][start:stop], outputs.trace_BTS[b, t][start:stop]
            _advance(x_W, inputs.decay_S[start:stop], r_W, trace_W)
        copy(r_W, outputs.last_BS[b][start:stop])


@kernel()
def _advance(x_W, decay_W, r_W, trace_W):
    one = x_W.dtype.type(1)
    for w in range(r_W.size):
        r = decay_W[w] * r_W[w] + (one - decay_W[w]) * x_W[w]
        r_W[w], trace_W[w] = r, r


@kernel()
def _backward(first, last, *arguments):
    """Go back through tasks first, ..., last - 1."""
    (grad_trace_BTS, grad_last_BS), saved = arguments[:2], _Saved(*arguments[2:7])
    grad_x_BTS, grad_decay_BS, grad_first_BS = arguments[7:]
    _, num_tokens, units = saved.x_BTS.shape
    grad_2W = scratch(2, block_width(units), saved.x_BTS)
    for task in range(first, last):
        b, _, start, stop = block_range(task, units)
        grad_W, grad_decay_W = grad_2W[0, : stop - start], grad_2W[1, : stop - start]
        clear(grad_decay_W)
        copy(grad_last_BS[b][start:stop], grad_W)
        for t in range(num_tokens - 1, -1, -1):
            before_S = saved.state_BS[b] if t == 0 else saved.trace_BTS[b, t - 1]
            _go_back(
                grad_trace_BTS[b, t][start:stop],
                saved.x_BTS[b, t][start:stop],
                before_S[start:stop],
                saved.decay_S[start:stop],
                saved.resets_BT[b, t],
                grad_W,
                grad_decay_W,
                grad_x_BTS[b, t][start:stop],
            )
        copy(grad_decay_W, grad_decay_BS[b][start:stop])
        copy(grad_W, grad_first_BS[b][start:stop])


@kernel()
def _go_back(grad_trace_W, x_W, before_W, decay_W, is_reset, grad_W, grad_decay_W, grad_x_W):
    """Turn the gradient that came from later tokens into that of r[t-1], in place."""
    dtype = x_W.dtype.type
    keep, one = dtype(0 if is_reset else 1), dtype(1)
    for w in range(grad_W.size):
        grad = grad_W[w] + grad_trace_W[w]
        grad_x_W[w] = (one - decay_W[w]) * grad
        grad_decay_W[w] += grad * (keep * before_W[w] - x_W[w])
        grad_W[w] = keep * decay_W[w] * grad
