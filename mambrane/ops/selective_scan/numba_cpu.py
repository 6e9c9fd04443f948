"""Selective scan on the CPU: one kernel forward, one backward; no tensor of size B x T x E x N is ever made.

The formula is in `reference.py`. A task is one sequence and one block of channels; inside it the loops go over
chunks of tokens, then states n, then strips of neighbouring channels, then tokens, so that what a chunk needs stays in
the cache of a core, and the state of a strip in registers.

The forward pass keeps the states at chunk boundaries. The backward pass walks the chunks from the last to the first,
recomputes the states of a chunk from its boundary, and with g[t] the gradient of h[t], a[t] = exp(delta[t] A):

    g[t]  = C[t] dy[t] + a[t+1] g[t+1]
    dC[t] = sum over e of dy[t] h[t]
    dB[t] = sum over e of g[t] delta[t] x[t]
    dx[t] = delta[t] sum over n of g[t] B[t]
    dA    = sum over t of g[t] a[t] h[t-1] delta[t]
    ddelta[t] = sum over n of g[t] (a[t] h[t-1] A + x[t] B[t])

Sums over blocks and over the batch are taken in a fixed order. Inside, A is [N, E] and the state is [B, N, E].
Letters beyond core/shapes: J chunks, G blocks of channels, W channels of a block, filled up to whole strips, P tokens
of a chunk, L channels of a strip.
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
from mambrane.kernels.numba_math import doublings, power_of_two
from mambrane.kernels.operator import is_differentiated
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import WIDE_LANES, load_wide, store, sum_of_lanes, zeros

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
    y_BTE, state_BNE, _ = _scan(
        *(each.to(dtype).contiguous() for each in floats),
        no_resets(x_BTE) if resets_BT is None else resets_BT.contiguous(),
        is_differentiated(*floats),
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
        # What fills the last strip are zeros, and stays so.
        chunk_of_block, states_of_block = _sizes(stop - start, inputs.A_NE)
        A_NW, h_NW = np.zeros(states_of_block, dtype), np.zeros(states_of_block, dtype)
        delta_CW, drive_CW = np.zeros(chunk_of_block, dtype), np.zeros(chunk_of_block, dtype)
        y_CW = np.empty(chunk_of_block, dtype)
        _load(inputs.A_NE, start, stop, A_NW)
        _load(inputs.state_BNE[b], start, stop, h_NW)
        for chunk in range(-(-num_tokens // CHUNK_TOKENS)):
            t, end = chunk * CHUNK_TOKENS, min((chunk + 1) * CHUNK_TOKENS, num_tokens)
            delta_PW, drive_PW, y_PW = delta_CW[: end - t], drive_CW[: end - t], y_CW[: end - t]
            B_PN, C_PN, resets_P = inputs.B_BTN[b, t:end], inputs.C_BTN[b, t:end], inputs.resets_BT[b, t:end]
            if outputs.boundaries_BJNE.shape[1] > 0:
                _store(h_NW, start, stop, outputs.boundaries_BJNE[b, chunk])
            _load(inputs.delta_BTE[b, t:end], start, stop, delta_PW)
            _load(inputs.x_BTE[b, t:end], start, stop, drive_PW)
            _multiply(delta_PW, drive_PW)
            _clear(y_PW)
            for n in range(A_NW.shape[0]):
                for strip in range(A_NW.shape[1] // WIDE_LANES):
                    _scan_strip(strip, n, delta_PW, drive_PW, A_NW, B_PN, C_PN, resets_P, h_NW, y_PW)
            _store(y_PW, start, stop, outputs.y_BTE[b, t:end])
        _store(h_NW, start, stop, outputs.last_BNE[b])


@kernel()
def _sizes(channels, A_NE):
    """Return the sizes of a chunk and of the states of a block, its channels filled up to whole strips."""
    width = -(-channels // WIDE_LANES) * WIDE_LANES
    return (CHUNK_TOKENS, width), (A_NE.shape[0], width)


@kernel()
def _scan_strip(strip, n, delta_PW, drive_PW, A_NW, B_PN, C_PN, resets_P, h_NW, y_PW):
    """Advance one state of a strip of channels by the tokens of a chunk, in place, and add what it shows to y."""
    zero_L, num_strips = zeros(A_NW, WIDE_LANES), A_NW.shape[1] // WIDE_LANES
    of_state = n * num_strips + strip
    h_L, rate_L = load_wide(h_NW, of_state), doublings(load_wide(A_NW, of_state))
    for p in range(delta_PW.shape[0]):
        row = p * num_strips + strip
        if resets_P[p]:
            h_L = zero_L
        decay_L = power_of_two(load_wide(delta_PW, row) * rate_L)
        h_L = decay_L * h_L + load_wide(drive_PW, row) * B_PN[p, n]
        store(load_wide(y_PW, row) + h_L * C_PN[p, n], y_PW, row)
    store(h_L, h_NW, of_state)


@kernel()
def _load(rows_RE, start, stop, block_RW):
    """Copy the channels start, ..., stop - 1 into memory of their own."""
    for r in range(block_RW.shape[0]):
        copy(rows_RE[r][start:stop], block_RW[r][: stop - start])


@kernel()
def _store(block_RW, start, stop, rows_RE):
    """Copy a block back to the channels start, ..., stop - 1."""
    for r in range(block_RW.shape[0]):
        copy(block_RW[r][: stop - start], rows_RE[r][start:stop])


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
        # What fills the last strip are zeros, and adds nothing to the sums over channels.
        chunk_of_block, states_of_block = _sizes(stop - start, saved.A_NE)
        A_NW, grad_h_NW = np.zeros(states_of_block, dtype), np.zeros(states_of_block, dtype)
        grad_A_NW, boundary_NW = np.zeros(states_of_block, dtype), np.zeros(states_of_block, dtype)
        x_CW, delta_CW = np.zeros(chunk_of_block, dtype), np.zeros(chunk_of_block, dtype)
        drive_CW, grad_y_CW = np.zeros(chunk_of_block, dtype), np.zeros(chunk_of_block, dtype)
        grad_drive_CW, grad_delta_CW = np.empty(chunk_of_block, dtype), np.empty(chunk_of_block, dtype)
        _load(saved.A_NE, start, stop, A_NW)
        _load(grad_last_BNE[b], start, stop, grad_h_NW)
        for chunk in range(-(-num_tokens // CHUNK_TOKENS) - 1, -1, -1):
            t, end = chunk * CHUNK_TOKENS, min((chunk + 1) * CHUNK_TOKENS, num_tokens)
            x_PW, delta_PW, drive_PW = x_CW[: end - t], delta_CW[: end - t], drive_CW[: end - t]
            grad_y_PW, grad_drive_PW = grad_y_CW[: end - t], grad_drive_CW[: end - t]
            grad_delta_PW = grad_delta_CW[: end - t]
            _load(saved.x_BTE[b, t:end], start, stop, x_PW)
            _load(saved.delta_BTE[b, t:end], start, stop, delta_PW)
            _load(saved.x_BTE[b, t:end], start, stop, drive_PW)
            _multiply(delta_PW, drive_PW)
            _load(grad_y_BTE[b, t:end], start, stop, grad_y_PW)
            _load(saved.boundaries_BJNE[b, chunk], start, stop, boundary_NW)
            _clear(grad_drive_PW)
            _clear(grad_delta_PW)
            _differentiate_chunk(
                (grad_y_PW, boundary_NW, delta_PW, drive_PW, A_NW),
                (saved.B_BTN[b, t:end], saved.C_BTN[b, t:end], saved.resets_BT[b, t:end]),
                (grad_h_NW, grad_A_NW, grad_drive_PW, grad_delta_PW),
                (partial_B_GBTN[block, b, t:end], partial_C_GBTN[block, b, t:end]),
            )
            _differentiate_drive(x_PW, delta_PW, grad_drive_PW, grad_delta_PW)
            _store(grad_drive_PW, start, stop, grad_x_BTE[b, t:end])
            _store(grad_delta_PW, start, stop, grad_delta_BTE[b, t:end])
        _store(grad_A_NW, start, stop, partial_A_BNE[b])
        _store(grad_h_NW, start, stop, grad_first_BNE[b])


@kernel()
def _differentiate_drive(x_PW, delta_PW, grad_PW, grad_delta_PW):
    """Turn the gradient of x delta into that of x, in place, and add to that of delta."""
    for p in range(grad_PW.shape[0]):
        for w in range(grad_PW.shape[1]):
            grad_drive = grad_PW[p, w]
            grad_delta_PW[p, w] += grad_drive * x_PW[p, w]
            grad_PW[p, w] = grad_drive * delta_PW[p, w]


@kernel()
def _differentiate_chunk(block, tokens, grads, partial_grads):
    """Go back through a chunk, state by state and strip by strip; grad_h and all sums are updated in place."""
    delta_PW, A_NW, (grad_B_PN, grad_C_PN) = block[2], block[4], partial_grads
    length = delta_PW.shape[0]
    # Sums over strips, lane by lane, of each token.
    grad_B_PL, grad_C_PL = scratch(length, WIDE_LANES, delta_PW), scratch(length, WIDE_LANES, delta_PW)
    decay_PL, before_PL = scratch(length, WIDE_LANES, delta_PW), scratch(length, WIDE_LANES, delta_PW)
    for n in range(A_NW.shape[0]):
        _clear(grad_B_PL)
        _clear(grad_C_PL)
        for strip in range(A_NW.shape[1] // WIDE_LANES):
            _differentiate_strip(strip, n, block, tokens, grads, (grad_B_PL, grad_C_PL, decay_PL, before_PL))
        for p in range(length):
            grad_B_PN[p, n] = sum_of_lanes(load_wide(grad_B_PL, p))
            grad_C_PN[p, n] = sum_of_lanes(load_wide(grad_C_PL, p))


@kernel()
def _differentiate_strip(strip, n, block, tokens, grads, rows):
    """Recompute one state of a strip of channels, then go back through the tokens of the chunk."""
    grad_y_PW, boundary_NW, delta_PW, drive_PW, A_NW = block
    B_PN, C_PN, resets_P = tokens
    grad_h_NW, grad_A_NW, grad_drive_PW, grad_delta_PW = grads
    grad_B_PL, grad_C_PL, decay_PL, before_PL = rows
    zero_L, length, num_strips = zeros(A_NW, WIDE_LANES), delta_PW.shape[0], A_NW.shape[1] // WIDE_LANES
    of_state = n * num_strips + strip
    A_L, h_L = load_wide(A_NW, of_state), load_wide(boundary_NW, of_state)
    rate_L = doublings(A_L)
    for p in range(length):
        row = p * num_strips + strip
        decay_L = power_of_two(load_wide(delta_PW, row) * rate_L)
        store(h_L, before_PL, p)
        if resets_P[p]:
            decay_L, h_L = zero_L, zero_L
        store(decay_L, decay_PL, p)
        h_L = decay_L * h_L + load_wide(drive_PW, row) * B_PN[p, n]
    grad_h_L, grad_A_L = load_wide(grad_h_NW, of_state), load_wide(grad_A_NW, of_state)
    for p in range(length - 1, -1, -1):
        row = p * num_strips + strip
        grad_y_L = load_wide(grad_y_PW, row)
        grad_h_L = grad_h_L + grad_y_L * C_PN[p, n]
        store(load_wide(grad_C_PL, p) + grad_y_L * h_L, grad_C_PL, p)
        drive_L = load_wide(drive_PW, row)
        store(load_wide(grad_B_PL, p) + grad_h_L * drive_L, grad_B_PL, p)
        store(load_wide(grad_drive_PW, row) + grad_h_L * B_PN[p, n], grad_drive_PW, row)
        grad_h_L = grad_h_L * load_wide(decay_PL, p)
        h_L = load_wide(before_PL, p)
        grad_exponent_L = grad_h_L * h_L
        grad_A_L = grad_A_L + grad_exponent_L * load_wide(delta_PW, row)
        store(load_wide(grad_delta_PW, row) + grad_exponent_L * A_L, grad_delta_PW, row)
    store(grad_h_L, grad_h_NW, of_state)
    store(grad_A_L, grad_A_NW, of_state)
