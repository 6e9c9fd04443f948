"""Windowed attention on the CPU: one kernel forward, one backward; no tensor of size T x W is ever made.

The formula is in `reference.py`. The lanes of a vector are heads (of one sequence, or of several where there are
few): what one head computes for a query and a key, its neighbours compute in the same instruction, so that the window
needs no mask, softmax no sum across lanes, and any head size fills the registers. A task is LANES heads and one block
of queries. It brings what it needs into lanes, [token, number, lane], and takes a few queries at a time: their scores
with all the keys they see, the softmax of each, their sums over values; rows that a query does not see weigh zero.

The forward pass keeps the largest score and the inverse sum of each query, from which the backward pass has the
weights p[j] again. With g the gradient of a query's output, and q already divided by sqrt(d):

    dv[j] += p[j] g        ds[j] = p[j] (g . v[j] - sum over i of p[i] g . v[i])
    dq = sum over j of ds[j] k[j] / sqrt(d)        dk[j] += ds[j] q

The keys of a block begin in the one before it. Their gradients go to an edge of the block, which is added to those of
the tokens in a fixed order at the end; the edge of the first block is the gradient of the cache.
Letters beyond core/shapes: I heads x d, R slots of the cache (W or 0), G groups of LANES heads, L lanes, J blocks of
queries, N numbers of a head (d filled up with zeros), P tokens of a block, Q queries taken together, W rows they see.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

import math
from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets
from mambrane.kernels.blocks import block_range, count_tasks
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import doublings, power_of_two
from mambrane.kernels.quads import NUMBERS_OF_QUAD
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.tiles import (
    KEYS_TOGETHER,
    NUMBERS_TOGETHER,
    QUERIES_TOGETHER,
    add_products,
    bring_into_lanes,
    multiply_rows,
    store_pair,
    sum_rows,
    take_out_of_lanes,
)
from mambrane.kernels.vectors import LANES, broadcast, fma, load, store, where_gt
from mambrane.ops.windowed_attention.kv_cache import KeyValueCache, empty_cache

BLOCK_TOKENS = 256


def windowed_attention_numba(
    query_BTI: Tensor,
    key_BTI: Tensor,
    value_BTI: Tensor,
    *,
    heads: int,
    window: int,
    state: KeyValueCache | None,
    resets_BT: Tensor | None,
) -> Tensor:
    """Return what the queries read; arguments as in `mambrane.ops.windowed_attention.windowed_attention`."""
    dtype = compute_dtype(query_BTI)
    if state is None:
        state = empty_cache(key_BTI, 0)
    floats = (query_BTI, key_BTI, value_BTI, state.keys_BWI, state.values_BWI)
    read_BTI, _ = _attend(
        *(each.to(dtype).contiguous() for each in floats),
        state.valid_BW.sum(dim=1),
        no_resets(query_BTI) if resets_BT is None else resets_BT.contiguous(),
        heads,
        window,
    )
    return read_BTI.to(query_BTI.dtype)


class _Inputs(NamedTuple):
    query_BTI: Tensor
    key_BTI: Tensor
    value_BTI: Tensor
    cached_key_BRI: Tensor
    cached_value_BRI: Tensor
    num_valid_B: Tensor
    resets_BT: Tensor
    heads: int
    window: int


class _Outputs(NamedTuple):
    read_BTI: Tensor
    sums_GT2L: Tensor
    """Of each query the largest score and the inverse sum."""


_Saved = namedtuple(
    "_Saved",
    "query_BTI key_BTI value_BTI cached_key_BRI cached_value_BRI num_valid_B resets_BT sums_GT2L heads window",
)
_Block = namedtuple("_Block", "group number start stop oldest first_PL first_P last_P query_PNL key_PNL value_PNL")
"""What a task works on: a group of heads, the number of a block of queries, its tokens, and rows in lanes."""


def _make_outputs(inputs: _Inputs) -> _Outputs:
    batch, tokens, _ = inputs.query_BTI.shape
    sums_GT2L = inputs.query_BTI.new_empty(-(-batch * inputs.heads // LANES), tokens, 2, LANES)
    return _Outputs(torch.empty_like(inputs.query_BTI), sums_GT2L)


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    block_tokens = max(BLOCK_TOKENS, inputs.window)
    parallel_for(
        _forward,
        count_tasks(outputs.sums_GT2L.shape[0], inputs.query_BTI.shape[1], block_tokens),
        block_tokens,
        *arrays(*inputs, *outputs),
        work_ns=0.1 * inputs.query_BTI.numel() * inputs.window,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    """Return the gradients of queries, keys, values, and of the cache's keys and values."""
    (batch, tokens, inner), num_slots, window = saved.query_BTI.shape, saved.cached_key_BRI.shape[1], saved.window
    block_tokens = max(BLOCK_TOKENS, window)
    num_blocks = count_tasks(1, tokens, block_tokens)
    grad_query_BTI, grad_key_BTI, grad_value_BTI = (torch.empty_like(saved.query_BTI) for _ in range(3))
    edge_size = window if num_blocks > 1 or num_slots else 0
    edge_key_JBWI, edge_value_JBWI = (saved.query_BTI.new_zeros(num_blocks, batch, edge_size, inner) for _ in range(2))
    parallel_for(
        _backward,
        saved.sums_GT2L.shape[0] * num_blocks,
        block_tokens,
        *arrays(grads.read_BTI, *saved, grad_query_BTI, grad_key_BTI, grad_value_BTI, edge_key_JBWI, edge_value_JBWI),
        work_ns=0.2 * saved.query_BTI.numel() * window,
    )
    for grad_BTI, edge_JBWI in ((grad_key_BTI, edge_key_JBWI), (grad_value_BTI, edge_value_JBWI)):
        for block in range(1, num_blocks):
            start = block * block_tokens
            grad_BTI[:, start - window : start] += edge_JBWI[block]
    edges = (edge_JBWI[0][:, edge_size - num_slots :].clone() for edge_JBWI in (edge_key_JBWI, edge_value_JBWI))
    return grad_query_BTI, grad_key_BTI, grad_value_BTI, *edges


_attend = differentiable(
    "windowed_attention",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Saved._fields,
    gradients={name: name for name in _Inputs._fields[:5]},
    internal=("sums_GT2L",),
)


@kernel(makes_arrays=True)
def _forward(first, last, block_tokens, *arguments):
    """Attend from the groups of heads and blocks of queries first, ..., last - 1."""
    inputs, outputs = _Inputs(*arguments[:9]), _Outputs(*arguments[9:])
    one = inputs.query_BTI.dtype.type(1)
    for task in range(first, last):
        block = _load_block(task, block_tokens, inputs)
        start, stop = block.start, block.stop
        read_PNL = np.empty_like(block.query_PNL)
        weight_QWL, sums_P2L = _allocate(inputs.window, block.query_PNL)
        for p in range(0, stop - start, QUERIES_TOGETHER):
            row, num_rows = _find_rows(p, start - block.oldest, block.first_P)
            multiply_rows(block.query_PNL, p, block.key_PNL, row, num_rows, weight_QWL)
            _mask_scores(weight_QWL, row, num_rows, block.first_PL, block.last_P, p)
            _softmax(weight_QWL, num_rows, sums_P2L, p)
            sum_rows(weight_QWL, block.value_PNL, row, num_rows, read_PNL, p)
            _scale_rows(read_PNL, p, sums_P2L)
        outputs.sums_GT2L[block.group, start:stop] = sums_P2L[: stop - start]
        _from_lanes(read_PNL, 0, one, outputs.read_BTI, block.group, inputs.heads, start, stop)


@kernel(makes_arrays=True)
def _backward(first, last, block_tokens, *arguments):
    """Go back through the groups of heads and blocks of queries first, ..., last - 1."""
    grad_read_BTI, saved = arguments[0], _Saved(*arguments[1:11])
    grad_query_BTI, grad_key_BTI, grad_value_BTI, edge_key_JBWI, edge_value_JBWI = arguments[11:]
    heads, one, scale = saved.heads, saved.query_BTI.dtype.type(1), _scale(saved)
    for task in range(first, last):
        block = _load_block(task, block_tokens, saved)
        group, start, stop, num_before = block.group, block.start, block.stop, block.start - block.oldest
        query_PNL, key_PNL, value_PNL = block.query_PNL, block.key_PNL, block.value_PNL
        grad_PNL = _queries(grad_read_BTI, one, group, heads, start, stop)
        grad_query_PNL = np.empty_like(query_PNL)
        grad_key_PNL, grad_value_PNL = np.zeros_like(key_PNL), np.zeros_like(key_PNL)
        weight_QWL, sums_P2L = _allocate(saved.window, query_PNL)
        grad_QWL = np.empty_like(weight_QWL)
        sums_P2L[: stop - start] = saved.sums_GT2L[group, start:stop]
        for p in range(0, stop - start, QUERIES_TOGETHER):
            row, num_rows = _find_rows(p, num_before, block.first_P)
            multiply_rows(query_PNL, p, key_PNL, row, num_rows, weight_QWL)
            _mask_scores(weight_QWL, row, num_rows, block.first_PL, block.last_P, p)
            multiply_rows(grad_PNL, p, value_PNL, row, num_rows, grad_QWL)
            _differentiate_weights(weight_QWL, grad_QWL, num_rows, sums_P2L, p)
            add_products(weight_QWL, grad_PNL, p, row, num_rows, grad_value_PNL)
            add_products(grad_QWL, query_PNL, p, row, num_rows, grad_key_PNL)
            sum_rows(grad_QWL, key_PNL, row, num_rows, grad_query_PNL, p)
        _from_lanes(grad_query_PNL, 0, scale, grad_query_BTI, group, heads, start, stop)
        for grad_PNL, grad_BTI, edge_BWI in (
            (grad_key_PNL, grad_key_BTI, edge_key_JBWI[block.number]),
            (grad_value_PNL, grad_value_BTI, edge_value_JBWI[block.number]),
        ):
            _from_lanes(grad_PNL, 0, one, edge_BWI, group, heads, edge_BWI.shape[1] - num_before, edge_BWI.shape[1])
            _from_lanes(grad_PNL, num_before, one, grad_BTI, group, heads, start, stop)


@kernel()
def _scale(inputs):
    """Return 1 / sqrt(numbers of a head), in the type of the queries."""
    return inputs.query_BTI.dtype.type(1 / math.sqrt(inputs.query_BTI.shape[2] // inputs.heads))


@kernel(makes_arrays=True)
def _load_block(task, block_tokens, inputs):
    """Return a task's block of queries, with the keys and values that they see."""
    heads, scale = inputs.heads, _scale(inputs)
    group, number, start, stop = block_range(task, inputs.query_BTI.shape[1], block_tokens)
    oldest, first_PL, first_P, last_P = _find_visible_rows(group, inputs, start, stop)
    query_PNL = _queries(inputs.query_BTI, scale, group, heads, start, stop)
    key_PNL = _visible_rows(inputs.key_BTI, inputs.cached_key_BRI, group, heads, oldest, stop)
    value_PNL = _visible_rows(inputs.value_BTI, inputs.cached_value_BRI, group, heads, oldest, stop)
    return _Block(group, number, start, stop, oldest, first_PL, first_P, last_P, query_PNL, key_PNL, value_PNL)


@kernel(makes_arrays=True)
def _find_visible_rows(group, inputs, start, stop):
    """Return the oldest token that a block needs (negative in the cache), and the first visible row of each lane."""
    window, cached_key_BRI, resets_BT = inputs.window, inputs.cached_key_BRI, inputs.resets_BT
    oldest = max(start - window + 1, -cached_key_BRI.shape[1])
    num_sequences, num_rows = resets_BT.shape[0], _pad(stop - start, QUERIES_TOGETHER)
    first_PL = np.zeros((num_rows, LANES), cached_key_BRI.dtype)
    first_P, last_P = np.full(num_rows, stop - oldest), np.zeros(num_rows, np.int64)
    for lane in range(LANES):
        b = min((group * LANES + lane) // inputs.heads, num_sequences - 1)
        document = -inputs.num_valid_B[b]
        for t in range(max(0, start - window + 1), start):
            if resets_BT[b, t]:
                document = t
        for t in range(start, start + num_rows):
            if t < stop and resets_BT[b, t]:
                document = t
            row = max(document, t - window + 1) - oldest
            first_PL[t - start, lane] = row
            first_P[t - start], last_P[t - start] = min(first_P[t - start], row), max(last_P[t - start], row)
    return oldest, first_PL, first_P, last_P


@kernel()
def _pad(count, together):
    return -(-count // together) * together


@kernel(makes_arrays=True)
def _queries(x_BTI, scale, group, heads, start, stop):
    """Return the rows of a block's queries in lanes, times scale, as many as are taken together."""
    numbers = x_BTI.shape[2] // heads
    num_rows = _pad(stop - start, QUERIES_TOGETHER)
    x_PNL = np.zeros((num_rows, _pad(numbers, NUMBERS_TOGETHER), LANES), x_BTI.dtype)
    _to_lanes(x_BTI, group, heads, start, stop, scale, x_PNL, 0)
    return x_PNL


@kernel(makes_arrays=True)
def _visible_rows(x_BTI, cached_BRI, group, heads, oldest, stop):
    """Return the rows of keys or values that a block sees, in lanes; then zeros, for sums that run over."""
    one, num_slots = x_BTI.dtype.type(1), cached_BRI.shape[1]
    num_rows = stop - oldest + QUERIES_TOGETHER + KEYS_TOGETHER
    x_PNL = np.zeros((num_rows, _pad(x_BTI.shape[2] // heads, NUMBERS_TOGETHER), LANES), x_BTI.dtype)
    if oldest < 0:
        _to_lanes(cached_BRI, group, heads, num_slots + oldest, num_slots, one, x_PNL, 0)
    _to_lanes(x_BTI, group, heads, max(0, oldest), stop, one, x_PNL, max(0, -oldest))
    return x_PNL


@kernel()
def _to_lanes(x_BTI, group, heads, start, stop, scale, x_PNL, row):
    """Copy tokens start, ..., stop - 1 of a group of heads to the rows from `row` on, one head a lane."""
    numbers, lane = x_BTI.shape[2] // heads, 0
    while lane < LANES and group * LANES + lane < x_BTI.shape[0] * heads:
        b, head = (group * LANES + lane) // heads, (group * LANES + lane) % heads
        count = min(heads - head, LANES - lane)
        if count == LANES and numbers % NUMBERS_OF_QUAD == 0:
            for t in range(start, stop):
                bring_into_lanes(x_BTI[b, t], head * numbers, numbers, scale, x_PNL, row + t - start)
            return
        for t in range(start, stop):
            x_I = x_BTI[b, t]
            for n in range(numbers):
                for h in range(count):
                    x_PNL[row + t - start, n, lane + h] = x_I[(head + h) * numbers + n] * scale
        lane += count


@kernel()
def _from_lanes(x_PNL, row, scale, x_BTI, group, heads, start, stop):
    """Copy rows from `row` on back to tokens start, ..., stop - 1 of a group of heads."""
    numbers, lane = x_BTI.shape[2] // heads, 0
    while lane < LANES and group * LANES + lane < x_BTI.shape[0] * heads:
        b, head = (group * LANES + lane) // heads, (group * LANES + lane) % heads
        count = min(heads - head, LANES - lane)
        if count == LANES and numbers % NUMBERS_OF_QUAD == 0:
            for t in range(start, stop):
                take_out_of_lanes(x_PNL, row + t - start, scale, x_BTI[b, t], head * numbers, numbers)
            return
        for t in range(start, stop):
            x_I = x_BTI[b, t]
            for n in range(numbers):
                for h in range(count):
                    x_I[(head + h) * numbers + n] = x_PNL[row + t - start, n, lane + h] * scale
        lane += count


@kernel(makes_arrays=True)
def _allocate(window, query_PNL):
    """Return scratch for the rows that some queries together see, and zeros for two numbers of each query."""
    weight_QWL = np.empty((QUERIES_TOGETHER, window + QUERIES_TOGETHER + KEYS_TOGETHER, LANES), query_PNL.dtype)
    return weight_QWL, np.zeros((query_PNL.shape[0], 2, LANES), query_PNL.dtype)


@kernel()
def _find_rows(p, num_before, first_P):
    """Return the first row that queries p, p + 1, ... see together, and how many."""
    return first_P[p], num_before + p + QUERIES_TOGETHER - first_P[p]


@kernel()
def _mask_scores(score_QWL, row, num_rows, first_PL, last_P, p):
    """Put minus infinity where a query does not see: before its window or document, and after itself."""
    dtype = score_QWL.dtype.type
    hidden = dtype(-np.inf)
    for q in range(QUERIES_TOGETHER):
        first, at = load(first_PL, p + q), q * score_QWL.shape[1]
        for w in range(at, at + last_P[p + q] - row):
            store(where_gt(first, dtype(row + w - at), hidden, load(score_QWL, w)), score_QWL, w)
        for w in range(at + num_rows - (QUERIES_TOGETHER - 1 - q), at + num_rows):
            store(broadcast(hidden), score_QWL, w)


@kernel()
def _softmax(score_QWL, num_rows, sums_P2L, p):
    """Turn scores into weights, in place, not yet divided by their sum; write the largest score and the inverse sum."""
    dtype = score_QWL.dtype.type
    zero, one = dtype(0), dtype(1)
    for q in range(QUERIES_TOGETHER):
        at = q * score_QWL.shape[1]
        largest, total = broadcast(dtype(-np.inf)), broadcast(zero)
        for w in range(at, at + num_rows):
            score = load(score_QWL, w)
            largest = where_gt(largest, score, largest, score)
        for w in range(at, at + num_rows):
            score = load(score_QWL, w)
            weight = power_of_two(doublings(score - largest))
            total = total + weight
            store(weight, score_QWL, w)
        store_pair(largest, total, sums_P2L, 2 * (p + q))
        for lane in range(LANES):
            sums_P2L[p + q, 1, lane] = one / sums_P2L[p + q, 1, lane]


@kernel()
def _differentiate_weights(score_QWL, grad_QWL, num_rows, sums_P2L, p):
    """Turn scores into weights and the gradients of weights into those of scores, in place."""
    for q in range(QUERIES_TOGETHER):
        at, mean = q * score_QWL.shape[1], broadcast(score_QWL.dtype.type(0))
        largest, inverse = load(sums_P2L, 2 * (p + q)), load(sums_P2L, 2 * (p + q) + 1)
        for w in range(at, at + num_rows):
            score = load(score_QWL, w)
            weight = power_of_two(doublings(score - largest)) * inverse
            mean = fma(weight, load(grad_QWL, w), mean)
            store(weight, score_QWL, w)
        for w in range(at, at + num_rows):
            store((load(grad_QWL, w) - mean) * load(score_QWL, w), grad_QWL, w)


@kernel()
def _scale_rows(x_PNL, p, sums_P2L):
    """Multiply rows p, p + 1, ... with the inverse sums of their queries."""
    numbers = x_PNL.shape[1]
    for q in range(p, p + QUERIES_TOGETHER):
        inverse = load(sums_P2L, 2 * q + 1)
        for n in range(q * numbers, (q + 1) * numbers):
            store(load(x_PNL, n) * inverse, x_PNL, n)
