"""The kernels of the selective scan on a GPU; `triton_gpu.py` says how they work together.

A program is one warp and owns a tile of N states of BLOCK_E channels: sums over states and over channels stay within
the warp, and no thread waits for another warp. Four neighbouring channels lie in a thread, so that their numbers come
from memory in one load; for this, A and states are [N, E] inside. Widths are compile-time constants, so that the tokens
of an unrolled loop differ in the constant part of an address alone; masks that hold everywhere (`IS_WHOLE`: UNROLL
divides T) vanish. Behind the last token every number is 0: a step of size 0 keeps the state. A is scaled by log2(e)
once, `a` below.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import LOG2_E, load, load_flag


@kernel
def _advance(h, x, delta, B, a):
    """Return the states after a token."""
    return tl.exp2(delta[None, :] * a) * h + B[:, None] * (delta * x)[None, :]


@kernel
def chunk_ends(
    x_ptr,
    delta_ptr,
    A_ptr,
    B_ptr,
    resets_ptr,
    end_ptr,
    sum_ptr,
    T,
    E: tl.constexpr,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """Write the last state of a chunk that starts from zero, and the sum of its steps: -inf where a document starts."""
    b, g = tl.program_id(2).to(tl.int64), tl.program_id(1)
    e, n = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)
    in_e, in_n = (e < E) | (E % BLOCK_E == 0), (n < N) | (N == BLOCK_N)
    inside, tile = in_n[:, None] & in_e[None, :], n[:, None] * E + e[None, :]
    a = load(A_ptr, tile, inside) * LOG2_E
    h = tl.zeros([BLOCK_N, BLOCK_E], tl.float32)
    total = tl.zeros([BLOCK_E], tl.float32)
    was_reset = g < 0
    for start in range(0, tl.minimum(CHUNK, T - g * CHUNK), UNROLL):
        t = g * CHUNK + start
        row = b * T + t
        x_at, delta_at, B_at = x_ptr + row * E + e, delta_ptr + row * E + e, B_ptr + row * N + n
        for i in tl.static_range(UNROLL):
            is_there = (t + i < T) | IS_WHOLE
            x, delta = load(x_at, i * E, in_e & is_there), load(delta_at, i * E, in_e & is_there)
            if HAS_RESETS:
                is_first = load_flag(resets_ptr + row, i, is_there)
                h = tl.where(is_first, 0.0, h)
                was_reset = was_reset | is_first
            h = _advance(h, x, delta, load(B_at, i * N, in_n & is_there), a)
            total += delta
    place = (b * tl.num_programs(1) + g) * E
    tl.store(end_ptr + place * N + tile, h, mask=inside)
    tl.store(sum_ptr + place + e, tl.where(was_reset, float("-inf"), total), mask=in_e)


@kernel
def pass_on(
    own_ptr,
    sum_ptr,
    A_ptr,
    first_ptr,
    last_ptr,
    G,
    E: tl.constexpr,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    WRITES_LAST: tl.constexpr,
):
    """Replace what each of G chunks makes of zero by what comes in at it; what leaves it is decay x in + own."""
    b = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (k < E * N) | (E * N % BLOCK == 0)
    a = load(A_ptr, k, inside) * LOG2_E
    carried = tl.zeros([BLOCK], tl.float32)
    if HAS_FIRST:
        carried = load(first_ptr + b * E * N, k, inside)
    for step in range(0, G):
        g = G - 1 - step if REVERSE else step
        place = (b * G + g) * E
        own = load(own_ptr + place * N, k, inside)
        total = load(sum_ptr + place, k % E, inside)
        tl.store(own_ptr + place * N + k, carried, mask=inside)
        carried = tl.where(total == float("-inf"), 0.0, tl.exp2(total * a)) * carried + own
    if WRITES_LAST:
        tl.store(last_ptr + b * E * N + k, carried, mask=inside)


@kernel
def chunk_outputs(
    x_ptr,
    delta_ptr,
    A_ptr,
    B_ptr,
    C_ptr,
    resets_ptr,
    before_ptr,
    y_ptr,
    last_ptr,
    T,
    E: tl.constexpr,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_BEFORE: tl.constexpr,
    WRITES_LAST: tl.constexpr,
):
    """Write y of a chunk from the state before it, and the state behind it where the chunk is the only one."""
    b, g = tl.program_id(2).to(tl.int64), tl.program_id(1)
    e, n = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)
    in_e, in_n = (e < E) | (E % BLOCK_E == 0), (n < N) | (N == BLOCK_N)
    inside, tile = in_n[:, None] & in_e[None, :], n[:, None] * E + e[None, :]
    a = load(A_ptr, tile, inside) * LOG2_E
    place = (b * tl.num_programs(1) + g) * E * N
    h = tl.zeros([BLOCK_N, BLOCK_E], tl.float32)
    if HAS_BEFORE:
        h = load(before_ptr + place, tile, inside)
    for start in range(0, tl.minimum(CHUNK, T - g * CHUNK), UNROLL):
        t = g * CHUNK + start
        row = b * T + t
        x_at, delta_at, y_at = x_ptr + row * E + e, delta_ptr + row * E + e, y_ptr + row * E + e
        B_at, C_at = B_ptr + row * N + n, C_ptr + row * N + n
        for i in tl.static_range(UNROLL):
            is_there = (t + i < T) | IS_WHOLE
            x, delta = load(x_at, i * E, in_e & is_there), load(delta_at, i * E, in_e & is_there)
            B, C = load(B_at, i * N, in_n & is_there), load(C_at, i * N, in_n & is_there)
            if HAS_RESETS:
                h = tl.where(load_flag(resets_ptr + row, i, is_there), 0.0, h)
            h = _advance(h, x, delta, B, a)
            tl.store(y_at + i * E, tl.sum(h * C[:, None], axis=0), mask=in_e & is_there)
    if WRITES_LAST:
        tl.store(last_ptr + place + tile, h, mask=inside)


@kernel
def chunk_starts(
    grad_y_ptr,
    delta_ptr,
    A_ptr,
    C_ptr,
    resets_ptr,
    start_ptr,
    T,
    E: tl.constexpr,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """Write the gradient of the state before a chunk, by the outputs of this chunk alone."""
    b, g = tl.program_id(2).to(tl.int64), tl.program_id(1)
    e, n = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)
    in_e, in_n = (e < E) | (E % BLOCK_E == 0), (n < N) | (N == BLOCK_N)
    inside, tile = in_n[:, None] & in_e[None, :], n[:, None] * E + e[None, :]
    a = load(A_ptr, tile, inside) * LOG2_E
    grad = tl.zeros([BLOCK_N, BLOCK_E], tl.float32)
    tokens = tl.cdiv(tl.minimum(CHUNK, T - g * CHUNK), UNROLL) * UNROLL
    for done in range(0, tokens, UNROLL):
        t = g * CHUNK + tokens - UNROLL - done
        row = b * T + t
        grad_y_at, delta_at, C_at = grad_y_ptr + row * E + e, delta_ptr + row * E + e, C_ptr + row * N + n
        for back in tl.static_range(UNROLL):
            i = UNROLL - 1 - back
            is_there = (t + i < T) | IS_WHOLE
            grad_y, delta = load(grad_y_at, i * E, in_e & is_there), load(delta_at, i * E, in_e & is_there)
            C = load(C_at, i * N, in_n & is_there)
            grad = (grad + C[:, None] * grad_y[None, :]) * tl.exp2(delta[None, :] * a)
            if HAS_RESETS:
                grad = tl.where(load_flag(resets_ptr + row, i, is_there), 0.0, grad)
    tl.store(start_ptr + (b * tl.num_programs(1) + g) * E * N + tile, grad, mask=inside)


@kernel
def chunk_gradients(
    x_ptr,
    delta_ptr,
    A_ptr,
    B_ptr,
    C_ptr,
    resets_ptr,
    before_ptr,
    grad_y_ptr,
    behind_ptr,
    scratch_ptr,
    grad_x_ptr,
    grad_delta_ptr,
    grad_A_ptr,
    grad_B_ptr,
    grad_C_ptr,
    grad_first_ptr,
    T,
    BATCH,
    E: tl.constexpr,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_BEFORE: tl.constexpr,
    HAS_BEHIND: tl.constexpr,
    HAS_GRAD_Y: tl.constexpr,
    WRITES_FIRST: tl.constexpr,
):
    """Write all gradients of a chunk; a program takes each num_programs(0)-th block of channels.

    The chunk goes forward again, with its state at each UNROLL-th token in a scratch buffer that stays in the cache,
    and then back in steps of UNROLL tokens, whose states stand in registers. Shares of B and C are added up over the
    blocks of a program in their order.
    """
    b, g, num_chunks = tl.program_id(2).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    split, num_splits = tl.program_id(0), tl.num_programs(0)
    n = tl.arange(0, BLOCK_N)
    in_n = (n < N) | (N == BLOCK_N)
    tokens = tl.cdiv(tl.minimum(CHUNK, T - g * CHUNK), UNROLL) * UNROLL
    scratch_ptr += ((b * num_chunks + g) * num_splits + split) * (CHUNK // UNROLL) * BLOCK_E * BLOCK_N
    scratch_at = scratch_ptr + n[:, None] * BLOCK_E + tl.arange(0, BLOCK_E)[None, :]
    for block in range(split, tl.cdiv(E, BLOCK_E), num_splits):
        e = block * BLOCK_E + tl.arange(0, BLOCK_E)
        in_e = (e < E) | (E % BLOCK_E == 0)
        inside, tile = in_n[:, None] & in_e[None, :], n[:, None] * E + e[None, :]
        place = (b * num_chunks + g) * E * N
        a = load(A_ptr, tile, inside) * LOG2_E
        h = tl.zeros([BLOCK_N, BLOCK_E], tl.float32)
        if HAS_BEFORE:
            h = load(before_ptr + place, tile, inside)
        for start in range(0, tokens, UNROLL):
            tl.store(scratch_at + (start // UNROLL) * BLOCK_E * BLOCK_N, h)
            t = g * CHUNK + start
            row = b * T + t
            x_at, delta_at, B_at = x_ptr + row * E + e, delta_ptr + row * E + e, B_ptr + row * N + n
            for i in tl.static_range(UNROLL):
                is_there = (t + i < T) | IS_WHOLE
                x, delta = load(x_at, i * E, in_e & is_there), load(delta_at, i * E, in_e & is_there)
                if HAS_RESETS:
                    h = tl.where(load_flag(resets_ptr + row, i, is_there), 0.0, h)
                h = _advance(h, x, delta, load(B_at, i * N, in_n & is_there), a)
        tl.debug_barrier()

        grad = tl.zeros([BLOCK_N, BLOCK_E], tl.float32)
        if HAS_BEHIND:
            grad = load(behind_ptr + place, tile, inside)
        grad_A = tl.zeros([BLOCK_N, BLOCK_E], tl.float32)
        for done in range(0, tokens, UNROLL):
            start = tokens - UNROLL - done
            t = g * CHUNK + start
            row = b * T + t
            x_at, delta_at, B_at = x_ptr + row * E + e, delta_ptr + row * E + e, B_ptr + row * N + n
            grad_y_at, C_at = grad_y_ptr + row * E + e, C_ptr + row * N + n
            grad_x_at, grad_delta_at = grad_x_ptr + row * E + e, grad_delta_ptr + row * E + e
            share = (split * BATCH * T + row) * N
            grad_B_at, grad_C_at = grad_B_ptr + share + n, grad_C_ptr + share + n
            h = tl.load(scratch_at + (start // UNROLL) * BLOCK_E * BLOCK_N)
            found = ()
            for i in tl.static_range(UNROLL):
                is_there = (t + i < T) | IS_WHOLE
                if HAS_RESETS:
                    h = tl.where(load_flag(resets_ptr + row, i, is_there), 0.0, h)
                found = found + (h,)
                if i < UNROLL - 1:
                    x, delta = load(x_at, i * E, in_e & is_there), load(delta_at, i * E, in_e & is_there)
                    h = _advance(h, x, delta, load(B_at, i * N, in_n & is_there), a)
            for back in tl.static_range(UNROLL):
                i = UNROLL - 1 - back
                is_there = (t + i < T) | IS_WHOLE
                x, delta = load(x_at, i * E, in_e & is_there), load(delta_at, i * E, in_e & is_there)
                B = load(B_at, i * N, in_n & is_there)
                decay = tl.exp2(delta[None, :] * a)
                kept = decay * found[UNROLL - 1 - back]
                drive = delta * x
                is_later = in_n & is_there & (block > split)
                if HAS_GRAD_Y:
                    grad_y = load(grad_y_at, i * E, in_e & is_there)
                    C = load(C_at, i * N, in_n & is_there)
                    h = kept + B[:, None] * drive[None, :]
                    grad += C[:, None] * grad_y[None, :]
                    grad_C = tl.sum(h * grad_y[None, :], axis=1) + load(grad_C_at, i * N, is_later)
                    tl.store(grad_C_at + i * N, grad_C, mask=in_n & is_there)
                grad_B = tl.sum(grad * drive[None, :], axis=1) + load(grad_B_at, i * N, is_later)
                tl.store(grad_B_at + i * N, grad_B, mask=in_n & is_there)
                grad_kept = grad * kept
                grad_drive = tl.sum(grad * B[:, None], axis=0)
                grad_A += grad_kept * delta[None, :]
                grad_delta = x * grad_drive + tl.sum(grad_kept * a, axis=0) / LOG2_E
                tl.store(grad_x_at + i * E, delta * grad_drive, mask=in_e & is_there)
                tl.store(grad_delta_at + i * E, grad_delta, mask=in_e & is_there)
                grad = grad * decay
                if HAS_RESETS:
                    grad = tl.where(load_flag(resets_ptr + row, i, is_there), 0.0, grad)
        tl.store(grad_A_ptr + place + tile, grad_A, mask=inside)
        if WRITES_FIRST:
            tl.store(grad_first_ptr + place + tile, grad, mask=inside)
        tl.debug_barrier()
