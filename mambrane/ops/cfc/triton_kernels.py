"""The kernels of the CfC cell on a GPU; `triton_gpu.py` says how they work together.

A program is one sequence. Vectors of a token are taken BLOCK units at a time; what a block leaves for the next ones
goes through global memory of the program, behind a barrier. Weights are read anew for each token, from the second
cache.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, load_flag, sigmoid, tanh

GAIN, SLOPE = tl.constexpr(1.7159), tl.constexpr(0.666)


@kernel
def _product(vector_ptr, matrix_ptr, rows, in_rows, COLUMNS: tl.constexpr, stride, BLOCK: tl.constexpr, step):
    """Return some rows of matrix times vector; a matrix of rows `stride` apart and columns `step` apart."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, COLUMNS, BLOCK):
        c = start + tl.arange(0, BLOCK)
        tile = load(matrix_ptr, rows[:, None] * stride + c[None, :] * step, in_rows[:, None] & (c < COLUMNS)[None, :])
        total += tl.sum(tile * load(vector_ptr, c, c < COLUMNS)[None, :], axis=1)
    return total


@kernel
def _elapsed(elapsed_ptr, row, units, in_units, L: tl.constexpr, HAS_ELAPSED: tl.constexpr, IS_PER_UNIT: tl.constexpr):
    """Return the time since the token before, of some units."""
    elapsed = tl.zeros([units.shape[0]], tl.float32) + 1.0
    if HAS_ELAPSED:
        if IS_PER_UNIT:
            elapsed = load(elapsed_ptr + row * L, units, in_units)
        else:
            elapsed = elapsed * tl.load(elapsed_ptr + row).to(tl.float32)
    return elapsed


@kernel
def forward(
    heard_ptr,
    recurrent_ptr,
    heads_ptr,
    biases_ptr,
    state_ptr,
    resets_ptr,
    elapsed_ptr,
    found_ptr,
    hidden_ptr,
    last_ptr,
    backbone_ptr,
    parts_ptr,
    T,
    U: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_ELAPSED: tl.constexpr,
    IS_PER_UNIT: tl.constexpr,
):
    """Run a sequence. heard: what the backbone hears of the input, bias included; parts: ff1, ff2, gate and rate."""
    b = tl.program_id(0).to(tl.int64)
    for t in range(0, T):
        row = b * T + t
        # The state that the token finds.
        for start in range(0, L, BLOCK):
            i = start + tl.arange(0, BLOCK)
            in_l = i < L
            h = tl.zeros([BLOCK], tl.float32)
            if HAS_STATE:
                h = load(state_ptr + b * L, i, in_l & (t == 0))
            h += load(last_ptr + b * L, i, in_l & (t > 0))
            if HAS_RESETS:
                h = tl.where(load_flag(resets_ptr, row, t < T), 0.0, h)
            tl.store(found_ptr + row * L + i, h, mask=in_l)
        tl.debug_barrier()
        for start in range(0, U, BLOCK):
            u = start + tl.arange(0, BLOCK)
            in_u = u < U
            z = load(heard_ptr + row * U, u, in_u) + _product(
                found_ptr + row * L, recurrent_ptr, u, in_u, L, L, BLOCK, 1
            )
            tl.store(backbone_ptr + row * U + u, tanh(z * SLOPE) * GAIN, mask=in_u)
        tl.debug_barrier()
        for start in range(0, L, BLOCK):
            i = start + tl.arange(0, BLOCK)
            in_l = i < L
            a_ptr = backbone_ptr + row * U
            ff1 = tanh(_product(a_ptr, heads_ptr, i, in_l, U, U, BLOCK, 1) + load(biases_ptr, i, in_l))
            ff2 = tanh(_product(a_ptr, heads_ptr + L * U, i, in_l, U, U, BLOCK, 1) + load(biases_ptr + L, i, in_l))
            rate = _product(a_ptr, heads_ptr + 2 * L * U, i, in_l, U, U, BLOCK, 1) + load(biases_ptr + 2 * L, i, in_l)
            base = _product(a_ptr, heads_ptr + 3 * L * U, i, in_l, U, U, BLOCK, 1) + load(biases_ptr + 3 * L, i, in_l)
            s = sigmoid(rate * _elapsed(elapsed_ptr, row, i, in_l, L, HAS_ELAPSED, IS_PER_UNIT) + base)
            h = (1.0 - s) * ff1 + s * ff2
            tl.store(hidden_ptr + row * L + i, h, mask=in_l)
            tl.store(last_ptr + b * L + i, h, mask=in_l)
            parts_at = parts_ptr + row * 4 * L + i
            tl.store(parts_at, ff1, mask=in_l)
            tl.store(parts_at + L, ff2, mask=in_l)
            tl.store(parts_at + 2 * L, s, mask=in_l)
            tl.store(parts_at + 3 * L, rate, mask=in_l)
        tl.debug_barrier()


@kernel
def backward(
    recurrent_ptr,
    heads_ptr,
    resets_ptr,
    elapsed_ptr,
    backbone_ptr,
    parts_ptr,
    grad_hidden_ptr,
    grad_last_ptr,
    grad_found_ptr,
    grad_heard_ptr,
    grad_parts_ptr,
    grad_elapsed_ptr,
    T,
    U: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_ELAPSED: tl.constexpr,
    IS_PER_UNIT: tl.constexpr,
    HAS_GRAD_HIDDEN: tl.constexpr,
    HAS_GRAD_LAST: tl.constexpr,
):
    """Go back through a sequence: gradients of the sums of the backbone and the four heads, before tanh and sigmoid."""
    b = tl.program_id(0).to(tl.int64)
    for start in range(0, L, BLOCK):
        i = start + tl.arange(0, BLOCK)
        grad = tl.zeros([BLOCK], tl.float32)
        if HAS_GRAD_LAST:
            grad = load(grad_last_ptr + b * L, i, i < L)
        tl.store(grad_found_ptr + b * L + i, grad, mask=i < L)
    tl.debug_barrier()
    for done in range(0, T):
        row = b * T + T - 1 - done
        for start in range(0, L, BLOCK):
            i = start + tl.arange(0, BLOCK)
            in_l = i < L
            grad = load(grad_found_ptr + b * L, i, in_l)
            if HAS_GRAD_HIDDEN:
                grad += load(grad_hidden_ptr + row * L, i, in_l)
            parts_at = parts_ptr + row * 4 * L
            ff1, ff2 = load(parts_at, i, in_l), load(parts_at + L, i, in_l)
            s, rate = load(parts_at + 2 * L, i, in_l), load(parts_at + 3 * L, i, in_l)
            grad_gate = grad * (ff2 - ff1) * s * (1.0 - s)
            elapsed = _elapsed(elapsed_ptr, row, i, in_l, L, HAS_ELAPSED, IS_PER_UNIT)
            out_at = grad_parts_ptr + row * 4 * L + i
            tl.store(out_at, grad * (1.0 - s) * (1.0 - ff1 * ff1), mask=in_l)
            tl.store(out_at + L, grad * s * (1.0 - ff2 * ff2), mask=in_l)
            tl.store(out_at + 2 * L, grad_gate * elapsed, mask=in_l)
            tl.store(out_at + 3 * L, grad_gate, mask=in_l)
            if HAS_ELAPSED:
                tl.store(grad_elapsed_ptr + row * L + i, grad_gate * rate, mask=in_l)
        tl.debug_barrier()
        for start in range(0, U, BLOCK):
            u = start + tl.arange(0, BLOCK)
            in_u = u < U
            # The four heads stand below each other: one product with 4 L rows.
            grad = _product(grad_parts_ptr + row * 4 * L, heads_ptr, u, in_u, 4 * L, 1, BLOCK, U)
            a = load(backbone_ptr + row * U, u, in_u)
            tl.store(grad_heard_ptr + row * U + u, grad * SLOPE * (a * a * (-1.0 / GAIN) + GAIN), mask=in_u)
        tl.debug_barrier()
        for start in range(0, L, BLOCK):
            i = start + tl.arange(0, BLOCK)
            in_l = i < L
            grad = _product(grad_heard_ptr + row * U, recurrent_ptr, i, in_l, U, 1, BLOCK, L)
            if HAS_RESETS:
                grad = tl.where(load_flag(resets_ptr, row, row >= 0), 0.0, grad)
            tl.store(grad_found_ptr + b * L + i, grad, mask=in_l)
        tl.debug_barrier()
