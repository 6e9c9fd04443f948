"""Selective scan on the CPU: one kernel forward, one backward; no tensor of size B x T x E x N is ever made.

The formula is in `reference.py`. A task is one sequence and one block of channels; inside it the loops go over
chunks of tokens, then states n, then tokens, then channels, so that everything a chunk needs stays in the first cache
and the innermost loop runs over neighbouring channels as vector instructions.

The forward pass keeps the states at chunk boundaries. The backward pass walks the chunks from the last to the first,
recomputes the states of a chunk from its boundary, and with g[t] the gradient of h[t], a[t] = exp(delta[t] A):

    g[t]  = C[t] dy[t] + a[t+1] g[t+1]
    dC[t] = sum over e of dy[t] h[t]
    dB[t] = sum over e of g[t] delta[t] x[t]
    dx[t] = delta[t] sum over n of g[t] B[t]
    dA    = sum over t of g[t] a[t] h[t-1] delta[t]
    ddelta[t] = sum over n of g[t] (a[t] h[t-1] A + x[t] B[t])

Sums over blocks and over the batch are taken in a fixed order. Inside, A is [N, E] and the state is [B, N, E].
Letters beyond core/shapes: J chunks, G blocks of channels, W channels of a block, P tokens of a chunk.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
from mambrane.kernels.blocks import block_range, clear, copy, count_tasks, scratch
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import LOWEST_EXPONENT, exp
from mambrane.kernels.threads import parallel_for

CHUNK_TOKENS = 16
LARGEST_BLOCK, SMALLEST_BLOCK = 512, 64
FEWEST_TASKS = 4


def selective_scan_numba(
    x_BTE: Tensor,
    delta_BTE: Tensor,
    A_EN: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    *,
    state_BEN: Tensor | None,
    resets_BT: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return y and the last state; arguments as in `mambrane.ops.selective_scan.selective_scan`."""
    dtype = compute_dtype(x_BTE)
    if state_BEN is None:
        state_BEN = x_BTE.new_zeros(x_BTE.shape[0], *A_EN.shape)
    floats = (x_BTE, delta_BTE, A_EN.t(), B_BTN, C_BTN, state_BEN.transpose(1, 2))
    keeps_boundaries = torch.is_grad_enabled() and any(each.requires_grad for each in floats)
    y_BTE, state_BNE, _ = _scan(
        *(each.to(dtype).contiguous() for each in floats),
        no_resets(x_BTE) if resets_BT is None else resets_BT.contiguous(),
        keeps_boundaries,
    )
    return y_BTE.to(x_BTE.dtype), state_BNE.transpose(1, 2)


class _Inputs(NamedTuple):
    x_BTE: Tensor
    delta_BTE: Tensor
    A_NE: Tensor
    B_BTN: Tensor
    C_BTN: Tensor
    state_BNE: Tensor
    resets_BT: Tensor
    keeps_boundaries: bool


class _Outputs(NamedTuple):
    y_BTE: Tensor
    last_BNE: Tensor
    boundaries_BJNE: Tensor
    """The states at chunk boundaries; J = 0 if they are not saved."""


_Saved = namedtuple("_Saved", "x_BTE delta_BTE A_NE B_BTN C_BTN resets_BT boundaries_BJNE")


def _make_outputs(inputs: _Inputs) -> _Outputs:
    batch, tokens, channels = inputs.x_BTE.shape
    num_chunks = -(-tokens // CHUNK_TOKENS) if inputs.keeps_boundaries else 0
    boundaries_BJNE = inputs.x_BTE.new_empty(batch, num_chunks, inputs.A_NE.shape[0], channels)
    return _Outputs(torch.empty_like(inputs.x_BTE), torch.empty_like(inputs.state_BNE), boundaries_BJNE)


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    block_channels = _choose_block(inputs.x_BTE)
    parallel_for(
        _forward,
        count_tasks(inputs.x_BTE.shape[0], inputs.x_BTE.shape[2], block_channels),
        block_channels,
        *arrays(*inputs, *outputs),
        work_ns=0.25 * inputs.x_BTE.numel() * inputs.A_NE.shape[0],
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x_BTE, B_BTN = saved.x_BTE, saved.B_BTN
    grad_x_BTE, grad_delta_BTE, grad_first_BNE = (torch.empty_like(x) for x in (x_BTE, x_BTE, grads.last_BNE))
    block_channels = _choose_block(x_BTE)
    num_blocks = count_tasks(1, x_BTE.shape[2], block_channels)
    partial_A_BNE = torch.empty_like(grads.last_BNE)
    partial_B_GBTN, partial_C_GBTN = (B_BTN.new_empty(num_blocks, *B_BTN.shape) for _ in range(2))
    parallel_for(
        _backward,
        x_BTE.shape[0] * num_blocks,
        block_channels,
        *arrays(grads.y_BTE, grads.last_BNE, *saved),
        *arrays(grad_x_BTE, grad_delta_BTE, partial_A_BNE, partial_B_GBTN, partial_C_GBTN, grad_first_BNE),
        work_ns=0.6 * x_BTE.numel() * saved.A_NE.shape[0],
    )
    sums = (ordered_sum(partial) for partial in (partial_A_BNE, partial_B_GBTN, partial_C_GBTN))
    return grad_x_BTE, grad_delta_BTE, *sums, grad_first_BNE


_scan = differentiable(
    "selective_scan",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Saved._fields,
    gradients={name: name for name in _Inputs._fields[:5]} | {"state_BNE": "last_BNE"},
    internal=("boundaries_BJNE",),
)


def _choose_block(x_BTE: Tensor) -> int:
    """Return the channels of a block: a small batch is cut finer, so that one long sequence keeps some threads busy.

    It depends on the shape alone, so that the number of threads changes no sum.
    """
    block_channels = LARGEST_BLOCK
    while (
        block_channels > SMALLEST_BLOCK and count_tasks(x_BTE.shape[0], x_BTE.shape[2], block_channels) < FEWEST_TASKS
    ):
        block_channels //= 2
    return block_channels


@kernel(makes_arrays=True)
def _forward(first, last, block_channels, *arguments):
    """Scan the sequences and blocks first, ..., last - 1."""
    inputs, outputs = _Inputs(*arguments[:8]), _Outputs(*arguments[8:])
    (_, num_tokens, num_channels), dtype = inputs.x_BTE.shape, inputs.x_BTE.dtype
    for task in range(first, last):
        b, _, start, stop = block_range(task, num_channels, block_channels)
        chunk_of_block, states_of_block = (CHUNK_TOKENS, stop - start), (inputs.A_NE.shape[0], stop - start)
        A_NW, h_NW = np.empty(states_of_block, dtype), np.empty(states_of_block, dtype)
        delta_CW, drive_CW = np.empty(chunk_of_block, dtype), np.empty(chunk_of_block, dtype)
        y_CW = np.empty(chunk_of_block, dtype)
        _load(inputs.A_NE, start, A_NW)
        _load(inputs.state_BNE[b], start, h_NW)
        for chunk in range(-(-num_tokens // CHUNK_TOKENS)):
            t, end = chunk * CHUNK_TOKENS, min((chunk + 1) * CHUNK_TOKENS, num_tokens)
            delta_PW, drive_PW, y_PW = delta_CW[: end - t], drive_CW[: end - t], y_CW[: end - t]
            B_PN, C_PN, resets_P = inputs.B_BTN[b, t:end], inputs.C_BTN[b, t:end], inputs.resets_BT[b, t:end]
            if outputs.boundaries_BJNE.shape[1] > 0:
                _store(h_NW, start, outputs.boundaries_BJNE[b, chunk])
            _load(inputs.delta_BTE[b, t:end], start, delta_PW)
            _load(inputs.x_BTE[b, t:end], start, drive_PW)
            _multiply(delta_PW, drive_PW)
            _clear(y_PW)
            _scan_chunk(delta_PW, drive_PW, A_NW, B_PN, C_PN, resets_P, h_NW, y_PW)
            _store(y_PW, start, outputs.y_BTE[b, t:end])
        _store(h_NW, start, outputs.last_BNE[b])


@kernel()
def _scan_chunk(delta_PW, drive_PW, A_NW, B_PN, C_PN, resets_P, h_NW, y_PW):
    """Advance the states by the tokens of a chunk, in place, and add what they show to y."""
    for n in range(A_NW.shape[0]):
        for p in range(delta_PW.shape[0]):
            if resets_P[p]:
                for w in range(delta_PW.shape[1]):
                    h_NW[n, w] = 0
            B_n, C_n = B_PN[p, n], C_PN[p, n]
            for w in range(delta_PW.shape[1]):
                h = _decay(delta_PW[p, w] * A_NW[n, w]) * h_NW[n, w] + drive_PW[p, w] * B_n
                h_NW[n, w] = h
                y_PW[p, w] += h * C_n


@kernel()
def _decay(exponent):
    """Return exp(exponent), or zero where that would be too small to be a normal number."""
    return exp(exponent) if exponent > np.float32(LOWEST_EXPONENT) else np.float32(0)


@kernel()
def _load(rows_RE, start, block_RW):
    """Copy the channels of a block, from `start` on, into memory of its own."""
    for r in range(block_RW.shape[0]):
        copy(rows_RE[r][start : start + block_RW.shape[1]], block_RW[r])


@kernel()
def _store(block_RW, start, rows_RE):
    """Copy a block back to the channels from `start` on."""
    for r in range(block_RW.shape[0]):
        copy(block_RW[r], rows_RE[r][start : start + block_RW.shape[1]])


@kernel()
def _multiply(factor_RW, product_RW):
    for r in range(product_RW.shape[0]):
        for w in range(product_RW.shape[1]):
            product_RW[r, w] *= factor_RW[r, w]


@kernel()
def _clear(block_RW):
    for r in range(block_RW.shape[0]):
        clear(block_RW[r])


@kernel(makes_arrays=True)
def _backward(first, last, block_channels, *arguments):
    """Go back through the sequences and blocks first, ..., last - 1."""
    (grad_y_BTE, grad_last_BNE), saved = arguments[:2], _Saved(*arguments[2:9])
    grad_x_BTE, grad_delta_BTE, partial_A_BNE, partial_B_GBTN, partial_C_GBTN, grad_first_BNE = arguments[9:]
    (_, num_tokens, num_channels), dtype = saved.x_BTE.shape, saved.x_BTE.dtype
    for task in range(first, last):
        b, block, start, stop = block_range(task, num_channels, block_channels)
        chunk_of_block, states_of_block = (CHUNK_TOKENS, stop - start), (saved.A_NE.shape[0], stop - start)
        A_NW, grad_h_NW = np.empty(states_of_block, dtype), np.empty(states_of_block, dtype)
        grad_A_NW, boundary_NW = np.zeros(states_of_block, dtype), np.empty(states_of_block, dtype)
        x_CW, delta_CW = np.empty(chunk_of_block, dtype), np.empty(chunk_of_block, dtype)
        drive_CW, grad_y_CW = np.empty(chunk_of_block, dtype), np.empty(chunk_of_block, dtype)
        grad_drive_CW, grad_delta_CW = np.empty(chunk_of_block, dtype), np.empty(chunk_of_block, dtype)
        _load(saved.A_NE, start, A_NW)
        _load(grad_last_BNE[b], start, grad_h_NW)
        for chunk in range(-(-num_tokens // CHUNK_TOKENS) - 1, -1, -1):
            t, end = chunk * CHUNK_TOKENS, min((chunk + 1) * CHUNK_TOKENS, num_tokens)
            x_PW, delta_PW, drive_PW = x_CW[: end - t], delta_CW[: end - t], drive_CW[: end - t]
            grad_y_PW, grad_drive_PW = grad_y_CW[: end - t], grad_drive_CW[: end - t]
            grad_delta_PW = grad_delta_CW[: end - t]
            _load(saved.x_BTE[b, t:end], start, x_PW)
            _load(saved.delta_BTE[b, t:end], start, delta_PW)
            _load(saved.x_BTE[b, t:end], start, drive_PW)
            _multiply(delta_PW, drive_PW)
            _load(grad_y_BTE[b, t:end], start, grad_y_PW)
            _load(saved.boundaries_BJNE[b, chunk], start, boundary_NW)
            _clear(grad_drive_PW)
            _clear(grad_delta_PW)
            _differentiate_chunk(
                (grad_y_PW, boundary_NW, delta_PW, drive_PW, A_NW),
                (saved.B_BTN[b, t:end], saved.C_BTN[b, t:end], saved.resets_BT[b, t:end]),
                (grad_h_NW, grad_A_NW, grad_drive_PW, grad_delta_PW),
                (partial_B_GBTN[block, b, t:end], partial_C_GBTN[block, b, t:end]),
            )
            _differentiate_drive(x_PW, delta_PW, grad_drive_PW, grad_delta_PW)
            _store(grad_drive_PW, start, grad_x_BTE[b, t:end])
            _store(grad_delta_PW, start, grad_delta_BTE[b, t:end])
        _store(grad_A_NW, start, partial_A_BNE[b])
        _store(grad_h_NW, start, grad_first_BNE[b])


@kernel()
def _differentiate_drive(x_PW, delta_PW, grad_PW, grad_delta_PW):
    """Turn the gradient of x delta into that of x, in place, and add to that of delta."""
    for p in range(grad_PW.shape[0]):
        for w in range(grad_PW.shape[1]):
            grad_drive = grad_PW[p, w]
            grad_delta_PW[p, w] += grad_drive * x_PW[p, w]
            grad_PW[p, w] = grad_drive * delta_PW[p, w]


@kernel(reorders_sums=True)
def _differentiate_chunk(block, tokens, grads, partial_grads):
    """Recompute the states of a chunk, then go back through it; grad_h and all sums are updated in place."""
    grad_y_PW, boundary_NW, delta_PW, drive_PW, A_NW = block
    B_PN, C_PN, resets_P = tokens
    grad_h_NW, grad_A_NW, grad_drive_PW, grad_delta_PW = grads
    grad_B_PN, grad_C_PN = partial_grads
    length, zero = delta_PW.shape[0], delta_PW.dtype.type(0)
    decay_PW = scratch(length, delta_PW.shape[1], delta_PW)
    h_QW = scratch(length + 1, delta_PW.shape[1], delta_PW)
    for n in range(A_NW.shape[0]):
        copy(boundary_NW[n], h_QW[0])
        for p in range(length):
            B_n = B_PN[p, n]
            if resets_P[p]:
                for w in range(delta_PW.shape[1]):
                    decay_PW[p, w], h_QW[p + 1, w] = zero, drive_PW[p, w] * B_n
            else:
                for w in range(delta_PW.shape[1]):
                    decay = _decay(delta_PW[p, w] * A_NW[n, w])
                    decay_PW[p, w], h_QW[p + 1, w] = decay, decay * h_QW[p, w] + drive_PW[p, w] * B_n
        for p in range(length - 1, -1, -1):
            B_n, C_n, grad_B, grad_C = B_PN[p, n], C_PN[p, n], zero, zero
            for w in range(delta_PW.shape[1]):
                grad_h = grad_h_NW[n, w] + grad_y_PW[p, w] * C_n
                grad_C += grad_y_PW[p, w] * h_QW[p + 1, w]
                grad_B += grad_h * drive_PW[p, w]
                grad_drive_PW[p, w] += grad_h * B_n
                grad_before = grad_h * decay_PW[p, w]
                grad_h_NW[n, w] = grad_before
                grad_exponent = grad_before * h_QW[p, w]
                grad_A_NW[n, w] += grad_exponent * delta_PW[p, w]
                grad_delta_PW[p, w] += grad_exponent * A_NW[n, w]
            grad_B_PN[p, n], grad_C_PN[p, n] = grad_B, grad_C
