"""Selective scan on the CPU: one kernel forward, one backward; no tensor of size B x T x E x N is ever made.

The formula is in `reference.py`. A task is one sequence and one block of channels; inside it the loops go over
chunks of tokens, then strips of neighbouring channels, then states n, two at a time, then tokens. What a strip needs
of a chunk lies side by side and stays in the first cache; the states of the strip are in registers, and two of them
share what is read and written for each token.

The forward pass keeps the states at chunk boundaries. The backward pass walks the chunks from the last to the first,
recomputes the states of a chunk from its boundary, and with g[t] the gradient of h[t], a[t] = exp(delta[t] A):

    g[t]  = C[t] dy[t] + a[t+1] g[t+1]
    dC[t] = sum over e of dy[t] h[t]
    dB[t] = sum over e of g[t] delta[t] x[t]
    dx[t] = delta[t] sum over n of g[t] B[t]
    dA    = sum over t of g[t] a[t] h[t-1] delta[t]
    ddelta[t] = sum over n of g[t] (a[t] h[t-1] A + x[t] B[t])

Sums over blocks and over the batch are taken in a fixed order. Inside, A is [N, E] and the state is [B, N, E].
Letters beyond core/shapes: J chunks, G blocks of channels, P tokens of a chunk, L channels of a strip, H half of them;
Q a row for each state of each strip (or each token of each state), R for each token of each strip. Odd states get a
partner that is zero.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from collections import namedtuple
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
from mambrane.kernels.blocks import block_range, copy, count_tasks, scratch, zeros_in_lines
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import doublings, power_of_two
from mambrane.kernels.operator import is_differentiated
from mambrane.kernels.strips import clear_rows, load_strips, store_strips
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import (
    WIDE_LANES,
    fma,
    load_strip,
    load_wide,
    lower_half,
    store,
    sum_of_lanes,
    upper_half,
    zeros,
)

CHUNK_TOKENS = 16
LARGEST_BLOCK, SMALLEST_BLOCK = 512, 64
FEWEST_TASKS = 4
HALF_LANES = WIDE_LANES // 2
"""Numbers of the sums over strips: half a strip's, so that two products cost one reading and one writing."""


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
    _, num_tokens, num_channels = inputs.x_BTE.shape
    num_states, like = inputs.A_NE.shape[0], inputs.A_NE
    even_states = num_states + num_states % 2
    for task in range(first, last):
        b, _, start, stop = block_range(task, num_channels, block_channels)
        # What fills the last strip, and the last pair of states, are zeros, and stays so.
        num_strips = -(-(stop - start) // WIDE_LANES)
        states, tokens = num_strips * even_states, num_strips * CHUNK_TOKENS
        A_QL, h_QL = zeros_in_lines(states, WIDE_LANES, like), zeros_in_lines(states, WIDE_LANES, like)
        delta_RL, drive_RL = zeros_in_lines(tokens, WIDE_LANES, like), zeros_in_lines(tokens, WIDE_LANES, like)
        y_RL = zeros_in_lines(tokens, WIDE_LANES, like)
        B_PN, C_PN = zeros_in_lines(CHUNK_TOKENS, even_states, like), zeros_in_lines(CHUNK_TOKENS, even_states, like)
        load_strips(inputs.A_NE, start, stop, even_states, A_QL)
        load_strips(inputs.state_BNE[b], start, stop, even_states, h_QL)
        for chunk in range(-(-num_tokens // CHUNK_TOKENS)):
            t, end = chunk * CHUNK_TOKENS, min((chunk + 1) * CHUNK_TOKENS, num_tokens)
            if outputs.boundaries_BJNE.shape[1] > 0:
                store_strips(h_QL, start, stop, even_states, outputs.boundaries_BJNE[b, chunk])
            load_strips(inputs.delta_BTE[b, t:end], start, stop, CHUNK_TOKENS, delta_RL)
            load_strips(inputs.x_BTE[b, t:end], start, stop, CHUNK_TOKENS, drive_RL)
            _multiply(delta_RL, drive_RL)
            _copy(inputs.B_BTN[b, t:end], num_states, B_PN)
            _copy(inputs.C_BTN[b, t:end], num_states, C_PN)
            clear_rows(y_RL)
            for strip in range(num_strips):
                for n in range(0, even_states, 2):
                    _scan_strip(strip, n, delta_RL, drive_RL, A_QL, B_PN, C_PN, inputs.resets_BT[b, t:end], h_QL, y_RL)
            store_strips(y_RL, start, stop, CHUNK_TOKENS, outputs.y_BTE[b, t:end])
        store_strips(h_QL, start, stop, even_states, outputs.last_BNE[b])


@kernel()
def _scan_strip(strip, n, delta_RL, drive_RL, A_QL, B_PN, C_PN, resets_P, h_QL, y_RL):
    """Advance two states of a strip of channels by the tokens of a chunk, in place, and add what they show to y."""
    zero_L, of_state, first_row = zeros(A_QL, WIDE_LANES), strip * B_PN.shape[1] + n, strip * CHUNK_TOKENS
    h_L, rate_L = load_wide(h_QL, of_state), doublings(load_wide(A_QL, of_state))
    other_h_L, other_rate_L = load_wide(h_QL, of_state + 1), doublings(load_wide(A_QL, of_state + 1))
    for p in range(resets_P.shape[0]):
        row = first_row + p
        if resets_P[p]:
            h_L, other_h_L = zero_L, zero_L
        delta_L, drive_L = load_wide(delta_RL, row), load_wide(drive_RL, row)
        h_L = power_of_two(delta_L * rate_L) * h_L + drive_L * B_PN[p, n]
        other_h_L = power_of_two(delta_L * other_rate_L) * other_h_L + drive_L * B_PN[p, n + 1]
        store(load_wide(y_RL, row) + h_L * C_PN[p, n] + other_h_L * C_PN[p, n + 1], y_RL, row)
    store(h_L, h_QL, of_state)
    store(other_h_L, h_QL, of_state + 1)


@kernel()
def _copy(rows_PN, num_states, block_PN):
    """Copy the tokens of a chunk into memory that has room for an even number of states."""
    for p in range(rows_PN.shape[0]):
        copy(rows_PN[p], block_PN[p][:num_states])


@kernel()
def _multiply(factor_RL, product_RL):
    for r in range(product_RL.shape[0]):
        store(load_wide(product_RL, r) * load_wide(factor_RL, r), product_RL, r)


@kernel(makes_arrays=True)
def _backward(first, last, block_channels, *arguments):
    """Go back through the sequences and blocks first, ..., last - 1."""
    (grad_y_BTE, grad_last_BNE), saved = arguments[:2], _Saved(*arguments[2:9])
    grad_x_BTE, grad_delta_BTE, partial_A_BNE, partial_B_GBTN, partial_C_GBTN, grad_first_BNE = arguments[9:]
    _, num_tokens, num_channels = saved.x_BTE.shape
    num_states, like = saved.A_NE.shape[0], saved.A_NE
    even_states = num_states + num_states % 2
    for task in range(first, last):
        b, block, start, stop = block_range(task, num_channels, block_channels)
        # What fills the last strip, and the last pair of states, are zeros, and adds nothing to sums.
        num_strips = -(-(stop - start) // WIDE_LANES)
        states, tokens = num_strips * even_states, num_strips * CHUNK_TOKENS
        A_QL, grad_h_QL = zeros_in_lines(states, WIDE_LANES, like), zeros_in_lines(states, WIDE_LANES, like)
        grad_A_QL, boundary_QL = zeros_in_lines(states, WIDE_LANES, like), zeros_in_lines(states, WIDE_LANES, like)
        x_RL, delta_RL = zeros_in_lines(tokens, WIDE_LANES, like), zeros_in_lines(tokens, WIDE_LANES, like)
        drive_RL, grad_y_RL = zeros_in_lines(tokens, WIDE_LANES, like), zeros_in_lines(tokens, WIDE_LANES, like)
        grad_drive_RL = zeros_in_lines(tokens, WIDE_LANES, like)
        grad_delta_RL = zeros_in_lines(tokens, WIDE_LANES, like)
        B_PN, C_PN = zeros_in_lines(CHUNK_TOKENS, even_states, like), zeros_in_lines(CHUNK_TOKENS, even_states, like)
        # Sums over strips, in lanes of half a strip, of each state and token.
        grad_B_QH = zeros_in_lines(even_states * CHUNK_TOKENS, HALF_LANES, like)
        grad_C_QH = zeros_in_lines(even_states * CHUNK_TOKENS, HALF_LANES, like)
        load_strips(saved.A_NE, start, stop, even_states, A_QL)
        load_strips(grad_last_BNE[b], start, stop, even_states, grad_h_QL)
        for chunk in range(-(-num_tokens // CHUNK_TOKENS) - 1, -1, -1):
            t, end = chunk * CHUNK_TOKENS, min((chunk + 1) * CHUNK_TOKENS, num_tokens)
            load_strips(saved.x_BTE[b, t:end], start, stop, CHUNK_TOKENS, x_RL)
            load_strips(saved.x_BTE[b, t:end], start, stop, CHUNK_TOKENS, drive_RL)
            load_strips(saved.delta_BTE[b, t:end], start, stop, CHUNK_TOKENS, delta_RL)
            _multiply(delta_RL, drive_RL)
            load_strips(grad_y_BTE[b, t:end], start, stop, CHUNK_TOKENS, grad_y_RL)
            load_strips(saved.boundaries_BJNE[b, chunk], start, stop, even_states, boundary_QL)
            _copy(saved.B_BTN[b, t:end], num_states, B_PN)
            _copy(saved.C_BTN[b, t:end], num_states, C_PN)
            clear_rows(grad_drive_RL)
            clear_rows(grad_delta_RL)
            clear_rows(grad_B_QH)
            clear_rows(grad_C_QH)
            _differentiate_chunk(
                (grad_y_RL, boundary_QL, delta_RL, drive_RL, A_QL),
                (B_PN, C_PN, saved.resets_BT[b, t:end]),
                (grad_h_QL, grad_A_QL, grad_drive_RL, grad_delta_RL, grad_B_QH, grad_C_QH),
            )
            _differentiate_drive(x_RL, delta_RL, grad_drive_RL, grad_delta_RL)
            store_strips(grad_drive_RL, start, stop, CHUNK_TOKENS, grad_x_BTE[b, t:end])
            store_strips(grad_delta_RL, start, stop, CHUNK_TOKENS, grad_delta_BTE[b, t:end])
            _sum_lanes(grad_B_QH, partial_B_GBTN[block, b, t:end])
            _sum_lanes(grad_C_QH, partial_C_GBTN[block, b, t:end])
        store_strips(grad_A_QL, start, stop, even_states, partial_A_BNE[b])
        store_strips(grad_h_QL, start, stop, even_states, grad_first_BNE[b])


@kernel()
def _sum_lanes(lanes_QH, sums_PN):
    """Write the sum of the lanes of each state and token."""
    prototype_H = zeros(lanes_QH, HALF_LANES)
    for p in range(sums_PN.shape[0]):
        for n in range(sums_PN.shape[1]):
            sums_PN[p, n] = sum_of_lanes(load_strip(prototype_H, lanes_QH, (n * CHUNK_TOKENS + p) * HALF_LANES))


@kernel()
def _differentiate_drive(x_RL, delta_RL, grad_RL, grad_delta_RL):
    """Turn the gradient of x delta into that of x, in place, and add to that of delta."""
    for r in range(grad_RL.shape[0]):
        grad_L = load_wide(grad_RL, r)
        store(load_wide(grad_delta_RL, r) + grad_L * load_wide(x_RL, r), grad_delta_RL, r)
        store(grad_L * load_wide(delta_RL, r), grad_RL, r)


@kernel()
def _differentiate_chunk(block, tokens, grads):
    """Go back through a chunk, strip by strip and two states at a time; grad_h and all sums are updated in place."""
    A_QL, B_PN = block[4], tokens[0]
    decay_RL, before_RL = scratch(2 * CHUNK_TOKENS, WIDE_LANES, A_QL), scratch(2 * CHUNK_TOKENS, WIDE_LANES, A_QL)
    for strip in range(A_QL.shape[0] // B_PN.shape[1]):
        for n in range(0, B_PN.shape[1], 2):
            _differentiate_strip(strip, n, block, tokens, grads, (decay_RL, before_RL))


@kernel()
def _differentiate_strip(strip, n, block, tokens, grads, rows):
    """Recompute two states of a strip of channels, then go back through the tokens of the chunk."""
    grad_y_RL, boundary_QL, delta_RL, drive_RL, A_QL = block
    B_PN, C_PN, resets_P = tokens
    grad_h_QL, grad_A_QL, grad_drive_RL, grad_delta_RL, grad_B_QH, grad_C_QH = grads
    decay_RL, before_RL = rows
    zero_L, length = zeros(A_QL, WIDE_LANES), resets_P.shape[0]
    of_state, first_row = strip * B_PN.shape[1] + n, strip * CHUNK_TOKENS
    A_L, other_A_L = load_wide(A_QL, of_state), load_wide(A_QL, of_state + 1)
    h_L, other_h_L = load_wide(boundary_QL, of_state), load_wide(boundary_QL, of_state + 1)
    rate_L, other_rate_L = doublings(A_L), doublings(other_A_L)
    for p in range(length):
        row = first_row + p
        delta_L, drive_L = load_wide(delta_RL, row), load_wide(drive_RL, row)
        decay_L, other_decay_L = power_of_two(delta_L * rate_L), power_of_two(delta_L * other_rate_L)
        store(h_L, before_RL, 2 * p)
        store(other_h_L, before_RL, 2 * p + 1)
        if resets_P[p]:
            decay_L, h_L, other_decay_L, other_h_L = zero_L, zero_L, zero_L, zero_L
        store(decay_L, decay_RL, 2 * p)
        store(other_decay_L, decay_RL, 2 * p + 1)
        h_L = decay_L * h_L + drive_L * B_PN[p, n]
        other_h_L = other_decay_L * other_h_L + drive_L * B_PN[p, n + 1]
    grad_h_L, other_grad_h_L = load_wide(grad_h_QL, of_state), load_wide(grad_h_QL, of_state + 1)
    grad_A_L, other_grad_A_L = load_wide(grad_A_QL, of_state), load_wide(grad_A_QL, of_state + 1)
    for p in range(length - 1, -1, -1):
        row, of_token = first_row + p, n * CHUNK_TOKENS + p
        grad_y_L, drive_L, delta_L = load_wide(grad_y_RL, row), load_wide(drive_RL, row), load_wide(delta_RL, row)
        grad_h_L = grad_h_L + grad_y_L * C_PN[p, n]
        other_grad_h_L = other_grad_h_L + grad_y_L * C_PN[p, n + 1]
        _add_product(grad_C_QH, of_token, grad_y_L, h_L)
        _add_product(grad_C_QH, of_token + CHUNK_TOKENS, grad_y_L, other_h_L)
        _add_product(grad_B_QH, of_token, grad_h_L, drive_L)
        _add_product(grad_B_QH, of_token + CHUNK_TOKENS, other_grad_h_L, drive_L)
        grad_drive_L = load_wide(grad_drive_RL, row) + grad_h_L * B_PN[p, n] + other_grad_h_L * B_PN[p, n + 1]
        store(grad_drive_L, grad_drive_RL, row)
        grad_h_L = grad_h_L * load_wide(decay_RL, 2 * p)
        other_grad_h_L = other_grad_h_L * load_wide(decay_RL, 2 * p + 1)
        h_L, other_h_L = load_wide(before_RL, 2 * p), load_wide(before_RL, 2 * p + 1)
        grad_exponent_L, other_grad_exponent_L = grad_h_L * h_L, other_grad_h_L * other_h_L
        grad_A_L = grad_A_L + grad_exponent_L * delta_L
        other_grad_A_L = other_grad_A_L + other_grad_exponent_L * delta_L
        grad_delta_L = load_wide(grad_delta_RL, row) + grad_exponent_L * A_L + other_grad_exponent_L * other_A_L
        store(grad_delta_L, grad_delta_RL, row)
    store(grad_h_L, grad_h_QL, of_state)
    store(other_grad_h_L, grad_h_QL, of_state + 1)
    store(grad_A_L, grad_A_QL, of_state)
    store(other_grad_A_L, grad_A_QL, of_state + 1)


@kernel()
def _add_product(sum_QH, row, left_L, right_L):
    """Add a product of strips to a row of half their lanes: the lower half, then the upper."""
    sum_H = load_strip(zeros(sum_QH, HALF_LANES), sum_QH, row * HALF_LANES)
    sum_H = fma(lower_half(left_L), lower_half(right_L), sum_H)
    store(fma(upper_half(left_L), upper_half(right_L), sum_H), sum_QH, row)
