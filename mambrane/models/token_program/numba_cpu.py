"""Runs a program of vector instructions on the CPU: what a model does for one token, as one compiled call.

A program is a table of whole numbers, a row an instruction: its kind, then offsets and sizes. All numbers of a model
lie in one array `memory`: weights, state, and what is computed on the way; state is changed in place. A vector may
start anywhere, and the space behind it up to whole vectors (up to PANEL_ROWS, where a product writes it) is its own:
instructions work on whole vectors and leave anything there. A matrix stands in panels of PANEL_ROWS rows, column by
column, so that a product reads it once from its start to its end, and skips the columns that meet a zero: those of
neurons that are silent.

One thread runs it: a step of a small model is shorter than waking a second thread takes.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

import math

from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_math import exp
from mambrane.kernels.vectors import LANES, broadcast, fma, where_ge, zeros
from mambrane.models.token_program.liquid_cells import cfc_backbone, cfc_step, ltc_step
from mambrane.models.token_program.strips import NOWHERE, load, store

PANEL_ROWS = 4 * LANES
INSTRUCTION_NUMBERS = 11
"""Numbers of an instruction, its kind included."""

(EMBED, RMS_NORM, PRODUCT, CONVOLVE, SOFTPLUS, SCAN, SSD, GATE_SKIP, AFFINE, MULTIPLY_ADD, ADD, SIGMOID, DECAY, LIF,
 TRACE, MEAN, HEAD_SUM, HEAD_SCALE, HEAD_DOT, ATTEND, READ_OUT, CFC_BACKBONE, CFC, LTC) = range(24)  # fmt: skip


@kernel(fuses=False)
def run_program(memory, program, token):  # noqa: C901, PLR0912 -- a table of branches
    """Run every instruction once, for one token."""
    for i in range(program.shape[0]):
        kind, a, b, c, d, e, f, g, h, j, k = (
            program[i, 0], program[i, 1], program[i, 2], program[i, 3], program[i, 4], program[i, 5], program[i, 6],
            program[i, 7], program[i, 8], program[i, 9], program[i, 10],
        )  # fmt: skip
        if kind == PRODUCT:
            _product(memory, a, b, c, d, e, f, g)
        elif kind == RMS_NORM:
            _rms_norm(memory, a, b, c, d, e)
        elif kind == CONVOLVE:
            _convolve(memory, a, b, c, d, e, f, g, h)
        elif kind == SOFTPLUS:
            _softplus(memory, a, b, c, d)
        elif kind == SCAN:
            _scan(memory, a, b, c, d, e, f, g, h, j)
        elif kind == SSD:
            _ssd(memory, a, b, c, d, e, f, g, h, j, k)
        elif kind == GATE_SKIP:
            _gate_skip(memory, a, b, c, d, e, f)
        elif kind == AFFINE:
            _affine(memory, a, b, c, d, e)
        elif kind == MULTIPLY_ADD:
            _multiply_add(memory, a, b, c, d, e)
        elif kind == ADD:
            _add(memory, a, b, c, d)
        elif kind == SIGMOID:
            _sigmoid(memory, a, b, c, d)
        elif kind == DECAY:
            _decay(memory, a, b, c, d)
        elif kind == LIF:
            _lif(memory, a, b, c, d, e, f, g, h)
        elif kind == TRACE:
            _trace(memory, a, b, c, d)
        elif kind == HEAD_SUM:
            _head_sum(memory, a, b, c, d)
        elif kind == HEAD_SCALE:
            _head_scale(memory, a, b, c, d)
        elif kind == HEAD_DOT:
            _head_dot(memory, a, b, c, d, e, f)
        elif kind == ATTEND:
            _attend(memory, a, b, c, d, e, f, g)
        elif kind == READ_OUT:
            _read_out(memory, a, b, c, d, e, f, g)
        elif kind == MEAN:
            _mean(memory, a, b, c, d)
        elif kind == CFC_BACKBONE:
            cfc_backbone(memory, a, b, c, d)
        elif kind == CFC:
            cfc_step(memory, a, b, c, d, e)
        elif kind == LTC:
            ltc_step(memory, a, b, c, d, e, f, g, h, j, k)
        elif kind == EMBED:
            _embed(memory, a, b, c, d, token)


@kernel(fuses=False)
def _embed(memory, out, table, size, is_in_panels, token):
    """Set out = row of the token; the table stands in panels, or row by row."""
    start, step = table + token * size, 1
    if is_in_panels:
        start, step = table + (token // PANEL_ROWS) * size * PANEL_ROWS + token % PANEL_ROWS, PANEL_ROWS
    for i in range(size):
        memory[out + i] = memory[start + i * step]


@kernel(reorders_sums=True)
def _sum_of_squares(memory, start, size):
    total = memory[start] * memory[start]
    for i in range(1, size):
        total += memory[start + i] * memory[start + i]
    return total


@kernel(fuses=False)
def _rms_norm(memory, out, x, weight, size, groups):
    """Set out = weight x / sqrt(mean(x^2) + eps), the mean over each of `groups` equal parts."""
    dtype = memory.dtype.type
    part = size // groups
    for group in range(groups):
        start = group * part
        scale = dtype(1) / dtype(math.sqrt(_sum_of_squares(memory, x + start, part) / dtype(part) + dtype(1e-5)))
        for i in range(start, start + part):
            memory[out + i] = memory[x + i] * scale
    if weight != NOWHERE:
        for i in range(0, size, LANES):
            store(memory, out + i, load(memory, out + i) * load(memory, weight + i))


@kernel(fuses=False)
def _product(memory, out, matrix, x, bias, num_rows, num_columns, panel_columns):
    """Set out = W x + bias, of the first `num_columns` columns of a matrix in panels."""
    for panel in range(-(-num_rows // PANEL_ROWS)):
        row = panel * PANEL_ROWS
        first = second = third = fourth = zeros(memory, LANES)
        if bias != NOWHERE:
            first, second = load(memory, bias + row), load(memory, bias + row + LANES)
            third, fourth = load(memory, bias + row + 2 * LANES), load(memory, bias + row + 3 * LANES)
        at = matrix + row * panel_columns
        for column in range(num_columns):
            number = memory[x + column]
            if number != 0:
                each = broadcast(number)
                first = fma(each, load(memory, at), first)
                second = fma(each, load(memory, at + LANES), second)
                third = fma(each, load(memory, at + 2 * LANES), third)
                fourth = fma(each, load(memory, at + 3 * LANES), fourth)
            at += PANEL_ROWS
        store(memory, out + row, first)
        store(memory, out + row + LANES, second)
        store(memory, out + row + 2 * LANES, third)
        store(memory, out + row + 3 * LANES, fourth)


@kernel(fuses=False)
def _convolve(memory, out, x, state, weight, bias, size, taps, has_silu):
    """Set out = act(bias + weights with the last inputs and x); the state holds taps - 1 rows, oldest first."""
    one = memory.dtype.type(1)
    width = -(-size // LANES) * LANES
    for i in range(0, size, LANES):
        newest = load(memory, x + i)
        total = zeros(memory, LANES) if bias == NOWHERE else load(memory, bias + i)
        for k in range(taps - 1):
            past = load(memory, state + k * width + i)
            total = fma(load(memory, weight + k * width + i), past, total)
            if k > 0:
                store(memory, state + (k - 1) * width + i, past)
        total = fma(load(memory, weight + (taps - 1) * width + i), newest, total)
        if taps > 1:
            store(memory, state + (taps - 2) * width + i, newest)
        if has_silu:
            total = total / (one + exp(zeros(memory, LANES) - total))
        store(memory, out + i, total)


@kernel(fuses=False)
def _softplus(memory, out, x, bias, size):
    """Set out = log(1 + exp(x + bias))."""
    dtype = memory.dtype.type
    for i in range(size):
        value = memory[x + i] if bias == NOWHERE else memory[x + i] + memory[bias + i]
        memory[out + i] = value if value > dtype(20) else dtype(math.log1p(math.exp(value)))


@kernel(fuses=False)
def _scan(memory, out, x, delta, A, B, C, state, size, num_states):
    """Set h = exp(delta A) h + delta x B, out = C h; A and h stand state by state."""
    width = -(-size // LANES) * LANES
    for i in range(0, size, LANES):
        step, total = load(memory, delta + i), zeros(memory, LANES)
        drive = step * load(memory, x + i)
        for n in range(num_states):
            at = n * width + i
            h = exp(step * load(memory, A + at)) * load(memory, state + at)
            h = fma(drive, broadcast(memory[B + n]), h)
            store(memory, state + at, h)
            total = fma(h, broadcast(memory[C + n]), total)
        store(memory, out + i, total)


@kernel(fuses=False)
def _ssd(memory, out, x, delta, A, B, C, state, num_heads, channels, num_states):
    """The same with one decay a head; the state stands [H, N, P], P up to whole vectors."""
    width = -(-channels // LANES) * LANES
    for head in range(num_heads):
        step = memory[delta + head]
        decay = broadcast(memory.dtype.type(math.exp(step * memory[A + head])))
        for i in range(0, channels, LANES):
            drive, total = load(memory, x + head * channels + i) * step, zeros(memory, LANES)
            for n in range(num_states):
                at = state + (head * num_states + n) * width + i
                h = fma(drive, broadcast(memory[B + n]), decay * load(memory, at))
                store(memory, at, h)
                total = fma(h, broadcast(memory[C + n]), total)
            store(memory, out + head * channels + i, total)


@kernel(fuses=False)
def _gate_skip(memory, out, y, x, skip, gate, size):
    """Set out = (y + D x) silu(gate)."""
    one = memory.dtype.type(1)
    for i in range(0, size, LANES):
        z = load(memory, gate + i)
        value = fma(load(memory, skip + i), load(memory, x + i), load(memory, y + i))
        store(memory, out + i, value * (z / (one + exp(zeros(memory, LANES) - z))))


@kernel(fuses=False)
def _affine(memory, out, x, factor, bias, size):
    """Set out = factor x + bias."""
    number = memory[factor]
    for i in range(0, size, LANES):
        store(memory, out + i, load(memory, x + i) * number + load(memory, bias + i))


@kernel(fuses=False)
def _multiply_add(memory, out, left, right, term, size):
    """Set out = left right + term."""
    for i in range(0, size, LANES):
        value = load(memory, left + i) * load(memory, right + i)
        store(memory, out + i, value if term == NOWHERE else value + load(memory, term + i))


@kernel(fuses=False)
def _add(memory, out, left, right, size):
    """Set out = left + right."""
    for i in range(0, size, LANES):
        store(memory, out + i, load(memory, left + i) + load(memory, right + i))


@kernel(fuses=False)
def _sigmoid(memory, out, x, shift, size):
    """Set out = shift + 1 / (1 + exp(-x))."""
    one, number = memory.dtype.type(1), memory[shift]
    for i in range(0, size, LANES):
        ones = broadcast(one)
        store(memory, out + i, ones / (one + exp(zeros(memory, LANES) - load(memory, x + i))) + number)


@kernel(fuses=False)
def _decay(memory, out, tau, scale, size):
    """Set out = exp(-1 / (tau scale))."""
    dtype = memory.dtype.type
    for i in range(size):
        time = memory[tau + i] if scale == NOWHERE else memory[tau + i] * memory[scale + i]
        memory[out + i] = dtype(math.exp(dtype(-1) / time))


@kernel(fuses=False)
def _lif(memory, spikes, membrane, current, decay, state, threshold, subtracts, size):
    """Set v' = decay v + current; a spike where v' reaches the threshold; then the reset."""
    one, limit = memory.dtype.type(1), memory[threshold]
    for i in range(0, size, LANES):
        before = load(memory, decay + i) * load(memory, state + i) + load(memory, current + i)
        nothing = zeros(memory, LANES)
        fired = where_ge(before - limit, nothing, broadcast(one), nothing)
        store(memory, spikes + i, fired)
        if membrane != NOWHERE:
            store(memory, membrane + i, before)
        store(memory, state + i, before - fired * limit if subtracts else before * (broadcast(one) - fired))


@kernel(fuses=False)
def _trace(memory, state, spikes, decay, size):
    """Set r = decay r + (1 - decay) z."""
    keep = memory[decay]
    take = memory.dtype.type(1) - keep
    for i in range(0, size, LANES):
        store(memory, state + i, load(memory, state + i) * keep + load(memory, spikes + i) * take)


@kernel(fuses=False)
def _mean(memory, out, rows, num_rows, size):
    """Set out = mean of rows that stand one after the other, each in whole vectors."""
    width = -(-size // LANES) * LANES
    for i in range(0, size, LANES):
        total = load(memory, rows + i)
        for row in range(1, num_rows):
            total = total + load(memory, rows + row * width + i)
        store(memory, out + i, total / memory.dtype.type(num_rows))


@kernel(fuses=False)
def _head_sum(memory, out, x, channels, size):
    """Add to out the sum of x over the channels of each head, x being there for the first `size` channels only."""
    for i in range(size):
        memory[out + i // channels] += memory[x + i]


@kernel(fuses=False)
def _head_scale(memory, x, factors, num_heads, channels):
    """Multiply the channels of each head by its factor, in place."""
    for head in range(num_heads):
        for i in range(head * channels, (head + 1) * channels):
            memory[x + i] *= memory[factors + head]


@kernel(fuses=False)
def _head_dot(memory, out, weight, x, bias, num_heads, channels):
    """Set out = w_h . x_h + b_h for each head."""
    for head in range(num_heads):
        total = memory[bias + head]
        for i in range(head * channels, (head + 1) * channels):
            total += memory[weight + i] * memory[x + i]
        memory[out + head] = total


@kernel(fuses=False)
def _append(memory, key_value, cache, window, size):
    """Move keys, values and which are valid one slot on, and put key and value behind them."""
    keys, values, valid = cache, cache + window * size, cache + 2 * window * size
    last = (window - 1) * size
    for i in range(last):
        memory[keys + i] = memory[keys + size + i]
    for i in range(last):
        memory[values + i] = memory[values + size + i]
    for slot in range(window - 1):
        memory[valid + slot] = memory[valid + slot + 1]
    for i in range(size):
        memory[keys + last + i] = memory[key_value + i]
        memory[values + last + i] = memory[key_value + size + i]
    memory[valid + window - 1] = memory.dtype.type(1)


@kernel(fuses=False)
def _attend(memory, out, query, key_value, cache, window, num_heads, size):
    """Append key and value to the cache, oldest first, and read it; it holds keys, values and which are valid."""
    _append(memory, key_value, cache, window, size)
    keys, values, valid = cache, cache + window * size, cache + 2 * window * size
    oldest = window - 1
    while oldest > 0 and memory[valid + oldest - 1] != 0:
        oldest -= 1
    channels = size // num_heads
    scores = valid + -(-window // LANES) * LANES
    for head in range(num_heads):
        start = head * channels
        total = _weigh(memory, query + start, keys + start, scores, oldest, window, size, channels)
        for i in range(start, start + channels):
            read = memory.dtype.type(0)
            for slot in range(oldest, window):
                read += memory[scores + slot] * memory[values + slot * size + i]
            memory[out + i] = read / total


@kernel(fuses=False)
def _weigh(memory, query, keys, scores, oldest, window, size, channels):
    """Write exp(q . k / sqrt(d) - largest) of each slot and return their sum."""
    dtype = memory.dtype.type
    scale, largest, total = dtype(1) / dtype(math.sqrt(dtype(channels))), dtype(-math.inf), dtype(0)
    for slot in range(oldest, window):
        score = dtype(0)
        for i in range(channels):
            score += memory[query + i] * memory[keys + slot * size + i]
        memory[scores + slot] = score * scale
        largest = max(largest, score * scale)
    for slot in range(oldest, window):
        weight = dtype(math.exp(memory[scores + slot] - largest))
        memory[scores + slot] = weight
        total += weight
    return total


@kernel(fuses=False)
def _read_out(memory, out, gate, spikes, x, weight, code, size):
    """Set out = a z x + b r."""
    for i in range(0, size, LANES):
        gated = load(memory, gate + i) * load(memory, spikes + i) * load(memory, x + i)
        store(memory, out + i, gated + load(memory, weight + i) * load(memory, code + i))
