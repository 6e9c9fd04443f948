"""The kernels of the selective scan on a GPU; `triton_gpu.py` says how they work together.

A program owns a tile of BLOCK_E channels and N states, one warp of 32 threads: sums over states and over channels stay
within the warp, so that nothing waits for other warps. Behind the last token every number is 0: a step of size 0 keeps
the state. Where offsets can pass 2^31 they are 64 bits wide. A is scaled by log2(e) once, `a` below.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import LOG2_E, load, load_flag


@kernel
def _advance(
    h, x_ptr, delta_ptr, B_ptr, resets_ptr, a, row, E, e, n, N: tl.constexpr, inside, HAS_RESETS: tl.constexpr
):
    """Return the states after the token of a row."""
    in_e, in_n = (e < E) & inside, (n < N) & inside
    x, delta = load(x_ptr + row * E, e, in_e), load(delta_ptr + row * E, e, in_e)
    if HAS_RESETS:
        h = tl.where(load_flag(resets_ptr, row, inside), 0.0, h)
    return tl.exp2(delta[:, None] * a) * h + (delta * x)[:, None] * load(B_ptr + row * N, n, in_n)[None, :]


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
    E,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """Write the last state of a chunk that starts from zero, and the sum of its steps: -inf where a document starts."""
    b, g = tl.program_id(2).to(tl.int64), tl.program_id(1)
    e, n = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)
    in_e = e < E
    inside = in_e[:, None] & (n < N)[None, :]
    tile = e[:, None] * N + n[None, :]
    a = load(A_ptr, tile, inside) * LOG2_E
    h = tl.zeros([BLOCK_E, BLOCK_N], tl.float32)
    total = tl.zeros([BLOCK_E], tl.float32)
    was_reset = g < 0
    for start in range(0, tl.minimum(CHUNK, T - g * CHUNK), UNROLL):
        for i in tl.static_range(UNROLL):
            t = g * CHUNK + start + i
            row = b * T + t
            h = _advance(h, x_ptr, delta_ptr, B_ptr, resets_ptr, a, row, E, e, n, N, t < T, HAS_RESETS)
            total += load(delta_ptr + row * E, e, in_e & (t < T))
            if HAS_RESETS:
                was_reset = was_reset | load_flag(resets_ptr, row, t < T)
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
    E,
    G,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    WRITES_LAST: tl.constexpr,
):
    """Replace what each of G chunks makes of zero by what comes in at it; what leaves it is decay x in + own."""
    b = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < E * N
    a = load(A_ptr, k, inside) * LOG2_E
    carried = tl.zeros([BLOCK], tl.float32)
    if HAS_FIRST:
        carried = load(first_ptr + b * E * N, k, inside)
    for step in range(0, G):
        g = G - 1 - step if REVERSE else step
        place = (b * G + g) * E
        own = load(own_ptr + place * N, k, inside)
        total = load(sum_ptr + place, k // N, inside)
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
    E,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_BEFORE: tl.constexpr,
    WRITES_LAST: tl.constexpr,
):
    """Write y of a chunk from the state before it, and the state behind it where the chunk is the only one."""
    b, g = tl.program_id(2).to(tl.int64), tl.program_id(1)
    e, n = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)
    in_e, in_n = e < E, n < N
    inside = in_e[:, None] & in_n[None, :]
    tile = e[:, None] * N + n[None, :]
    a = load(A_ptr, tile, inside) * LOG2_E
    place = (b * tl.num_programs(1) + g) * E * N
    h = tl.zeros([BLOCK_E, BLOCK_N], tl.float32)
    if HAS_BEFORE:
        h = load(before_ptr + place, tile, inside)
    for start in range(0, tl.minimum(CHUNK, T - g * CHUNK), UNROLL):
        for i in tl.static_range(UNROLL):
            t = g * CHUNK + start + i
            row = b * T + t
            h = _advance(h, x_ptr, delta_ptr, B_ptr, resets_ptr, a, row, E, e, n, N, t < T, HAS_RESETS)
            y = tl.sum(h * load(C_ptr + row * N, n, in_n & (t < T))[None, :], axis=1)
            tl.store(y_ptr + row * E + e, y, mask=in_e & (t < T))
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
    E,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """Write the gradient of the state before a chunk, by the outputs of this chunk alone."""
    b, g = tl.program_id(2).to(tl.int64), tl.program_id(1)
    e, n = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)
    in_e, in_n = e < E, n < N
    inside = in_e[:, None] & in_n[None, :]
    tile = e[:, None] * N + n[None, :]
    a = load(A_ptr, tile, inside) * LOG2_E
    grad = tl.zeros([BLOCK_E, BLOCK_N], tl.float32)
    tokens = tl.cdiv(tl.minimum(CHUNK, T - g * CHUNK), UNROLL) * UNROLL
    for done in range(0, tokens, UNROLL):
        for i in tl.static_range(UNROLL):
            t = g * CHUNK + tokens - 1 - done - i
            row = b * T + t
            grad_y = load(grad_y_ptr + row * E, e, in_e & (t < T))
            delta = load(delta_ptr + row * E, e, in_e & (t < T))
            C = load(C_ptr + row * N, n, in_n & (t < T))
            grad = (grad + grad_y[:, None] * C[None, :]) * tl.exp2(delta[:, None] * a)
            if HAS_RESETS:
                grad = tl.where(load_flag(resets_ptr, row, t < T), 0.0, grad)
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
    E,
    BATCH,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
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
    in_n = n < N
    tokens = tl.cdiv(tl.minimum(CHUNK, T - g * CHUNK), UNROLL) * UNROLL
    local = tl.arange(0, BLOCK_E)[:, None] * BLOCK_N + n[None, :]
    scratch_ptr += ((b * num_chunks + g) * num_splits + split) * (CHUNK // UNROLL) * BLOCK_E * BLOCK_N
    for block in range(split, tl.cdiv(E, BLOCK_E), num_splits):
        e = block * BLOCK_E + tl.arange(0, BLOCK_E)
        in_e = e < E
        inside = in_e[:, None] & in_n[None, :]
        tile = (b * num_chunks + g) * E * N + (e[:, None] * N + n[None, :])
        a = load(A_ptr, e[:, None] * N + n[None, :], inside) * LOG2_E
        h = tl.zeros([BLOCK_E, BLOCK_N], tl.float32)
        if HAS_BEFORE:
            h = load(before_ptr, tile, inside)
        for start in range(0, tokens, UNROLL):
            tl.store(scratch_ptr + (start // UNROLL) * BLOCK_E * BLOCK_N + local, h)
            for i in tl.static_range(UNROLL):
                t = g * CHUNK + start + i
                h = _advance(h, x_ptr, delta_ptr, B_ptr, resets_ptr, a, b * T + t, E, e, n, N, t < T, HAS_RESETS)
        tl.debug_barrier()

        grad = tl.zeros([BLOCK_E, BLOCK_N], tl.float32)
        if HAS_BEHIND:
            grad = load(behind_ptr, tile, inside)
        grad_A = tl.zeros([BLOCK_E, BLOCK_N], tl.float32)
        for done in range(0, tokens, UNROLL):
            start = tokens - UNROLL - done
            h = tl.load(scratch_ptr + (start // UNROLL) * BLOCK_E * BLOCK_N + local)
            found = ()
            for i in tl.static_range(UNROLL):
                t = g * CHUNK + start + i
                row = b * T + t
                if HAS_RESETS:
                    h = tl.where(load_flag(resets_ptr, row, t < T), 0.0, h)
                found = found + (h,)
                if i < UNROLL - 1:
                    h = _advance(h, x_ptr, delta_ptr, B_ptr, resets_ptr, a, row, E, e, n, N, t < T, False)
            for i in tl.static_range(UNROLL):
                t = g * CHUNK + start + (UNROLL - 1 - i)
                row = b * T + t
                x = load(x_ptr + row * E, e, in_e & (t < T))
                delta = load(delta_ptr + row * E, e, in_e & (t < T))
                B = load(B_ptr + row * N, n, in_n & (t < T))
                decay = tl.exp2(delta[:, None] * a)
                kept = decay * found[UNROLL - 1 - i]
                drive = delta * x
                place = (split * BATCH * T + row) * N
                if HAS_GRAD_Y:
                    grad_y = load(grad_y_ptr + row * E, e, in_e & (t < T))
                    C = load(C_ptr + row * N, n, in_n & (t < T))
                    h = kept + drive[:, None] * B[None, :]
                    grad += grad_y[:, None] * C[None, :]
                    grad_C = tl.sum(h * grad_y[:, None], axis=0)
                    grad_C += load(grad_C_ptr + place, n, in_n & (t < T) & (block > split))
                    tl.store(grad_C_ptr + place + n, grad_C, mask=in_n & (t < T))
                grad_B = tl.sum(grad * drive[:, None], axis=0)
                grad_B += load(grad_B_ptr + place, n, in_n & (t < T) & (block > split))
                tl.store(grad_B_ptr + place + n, grad_B, mask=in_n & (t < T))
                grad_kept = grad * kept
                grad_drive = tl.sum(grad * B[None, :], axis=1)
                grad_A += grad_kept * delta[:, None]
                grad_delta = x * grad_drive + tl.sum(grad_kept * a, axis=1) / LOG2_E
                tl.store(grad_x_ptr + row * E + e, delta * grad_drive, mask=in_e & (t < T))
                tl.store(grad_delta_ptr + row * E + e, grad_delta, mask=in_e & (t < T))
                grad = grad * decay
                if HAS_RESETS:
                    grad = tl.where(load_flag(resets_ptr, row, t < T), 0.0, grad)
        tl.store(grad_A_ptr + tile, grad_A, mask=inside)
        if WRITES_FIRST:
            tl.store(grad_first_ptr + tile, grad, mask=inside)
        tl.debug_barrier()
