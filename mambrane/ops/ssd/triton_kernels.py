"""The kernels of SSD on a GPU; `triton_gpu.py` says how they work together.

A program owns a chunk of Q tokens, or walks through all of them. In a chunk, with a[t] = delta[t] A and sums s[q] of a
up to q, everything follows from delta, A and the resets: what is left at token q of token k (`_between`), of the state
before the chunk (`from_start`) and, behind the chunk, of token k (`to_end`). None of it is kept in memory.
Exponents are those of powers of two. Factors of products are of the type `half`, sums of float32.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import LOG2_E, load, load_flag, product, product_added


@kernel
def _last(each_Q, Q: tl.constexpr):
    """Return the last of Q numbers."""
    return tl.sum(tl.where(tl.arange(0, Q) == Q - 1, each_Q, 0.0), axis=0)


@kernel
def _steps(delta_ptr, rate, in_t, Q: tl.constexpr, H: tl.constexpr):
    """Return the step sizes of a chunk and their exponents; 0 behind the last token: no drive and no decay."""
    delta = load(delta_ptr, tl.arange(0, Q) * H, in_t)
    return delta, delta * (rate * LOG2_E)


@kernel
def _documents(resets_ptr, in_t, Q: tl.constexpr, HAS_RESETS: tl.constexpr):
    """Return the document of each token of a chunk, counted from 0 for the one before the chunk."""
    number = tl.zeros([Q], tl.int32)
    if HAS_RESETS:
        number = tl.cumsum(load_flag(resets_ptr, tl.arange(0, Q), in_t).to(tl.int32), axis=0)
    return number


@kernel
def _between(exponent, number, Q: tl.constexpr, SUMS_PAIRS: tl.constexpr):
    """Return what is left at token q of token k [q, k], 0 where q does not see k; and of the state before, at q.

    As differences of two long sums, short ones lose digits that float32 factors have: then each k has its own sum.
    """
    q = tl.arange(0, Q)
    is_seen = (q[:, None] >= q[None, :]) & (number[:, None] == number[None, :])
    sums = tl.cumsum(exponent, axis=0)
    if SUMS_PAIRS:
        own = tl.cumsum(tl.where(q[:, None] > q[None, :], exponent[:, None], 0.0), axis=0)
    else:
        own = sums[:, None] - sums[None, :]
    # Chosen behind the exponential, which overflows where q comes before k.
    return tl.where(is_seen, tl.exp2(own), 0.0), tl.where(number == 0, tl.exp2(sums), 0.0)


@kernel
def _to_end(exponent, number, Q: tl.constexpr, SUMS_PAIRS: tl.constexpr):
    """Return what is left behind the chunk of each token."""
    if SUMS_PAIRS:
        q = tl.arange(0, Q)
        own = tl.sum(tl.where(q[:, None] > q[None, :], exponent[:, None], 0.0), axis=0)
    else:
        sums = tl.cumsum(exponent, axis=0)
        own = _last(sums, Q) - sums
    return tl.where(number == tl.max(number, axis=0), tl.exp2(own), 0.0)


@kernel
def pass_states(
    drive_ptr,
    delta_ptr,
    rate_ptr,
    side_ptr,
    first_ptr,
    resets_ptr,
    before_ptr,
    states_ptr,
    last_ptr,
    kept_ptr,
    T,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    IS_BACKWARD: tl.constexpr,
    SUMS_PAIRS: tl.constexpr,
):
    """Write the state before each chunk and the last: [P, N] numbers of each head, of which a program has a part.

    Backward, from the last chunk to the first: the gradient of the state behind each chunk, and of the first state;
    then drive and side are the gradients of y and C in place of x and B. Of `before`, what the forward pass wrote, the
    part in the states behind each chunk is weighed with their gradients: a program's share of the number `kept`.
    """
    b, h = tl.program_id(2).to(tl.int64), tl.program_id(1)
    p, n = tl.arange(0, BLOCK_P), tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_p, in_n = (p < P) | (P == BLOCK_P), (n < N) | (N % BLOCK_N == 0)
    places, inside = p[:, None] * N + n[None, :], in_p[:, None] & in_n[None, :]
    half = drive_ptr.dtype.element_ty
    chunks = tl.cdiv(T, Q)
    rate = load(rate_ptr, h, True)
    q = tl.arange(0, Q)
    drives, sides = q[:, None] * (H * P) + h * P + p[None, :], q[:, None] * N + n[None, :]
    state = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    if HAS_FIRST:
        state = load(first_ptr + (b * H + h) * P * N, places, inside)
    for done in range(0, chunks):
        g = chunks - 1 - done if IS_BACKWARD else done
        tl.store(states_ptr + ((b * chunks + g) * H + h) * (P * N) + places, state, mask=inside)
        start, in_t = b * T + g * Q, q < T - g * Q
        delta, exponent = _steps(delta_ptr + start * H + h, rate, in_t, Q, H)
        number = _documents(resets_ptr + start, in_t, Q, HAS_RESETS)
        left = tl.where(tl.max(number, axis=0) == 0, tl.exp2(tl.sum(exponent, axis=0)), 0.0)
        if IS_BACKWARD:
            chunk = (b * chunks + g) * H + h
            kept = left * tl.sum(tl.sum(state * load(before_ptr + chunk * (P * N), places, inside), axis=1))
            tl.store(kept_ptr + chunk * tl.num_programs(0) + tl.program_id(0), kept)
            factor = tl.where(number == 0, tl.exp2(tl.cumsum(exponent, axis=0)), 0.0)
        else:
            factor = _to_end(exponent, number, Q, SUMS_PAIRS) * delta
        drive = load(drive_ptr + start * (H * P), drives, in_t[:, None] & in_p[None, :])
        side = tl.load(side_ptr + start * N + sides, mask=in_t[:, None] & in_n[None, :], other=0.0)
        state = left * state + product(tl.trans((drive * factor[:, None]).to(half)), side)
    tl.store(last_ptr + (b * H + h) * P * N + places, state, mask=inside)


@kernel
def outputs(
    x_ptr,
    delta_ptr,
    rate_ptr,
    B_ptr,
    C_ptr,
    skip_ptr,
    before_ptr,
    resets_ptr,
    y_ptr,
    T,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HEADS: tl.constexpr,
    HAS_SKIP: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    SUMS_PAIRS: tl.constexpr,
):
    """Write y of a chunk for HEADS heads, which share the products of B and C."""
    b, g, first = tl.program_id(2).to(tl.int64), tl.program_id(1), tl.program_id(0) * HEADS
    q, p, n = tl.arange(0, Q), tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_N)
    in_t, in_p, in_n = q < T - g * Q, (p < P) | (P == BLOCK_P), (n < N) | (N == BLOCK_N)
    start = b * T + g * Q
    half = x_ptr.dtype.element_ty
    rows, in_rows = q[:, None] * N + n[None, :], in_t[:, None] & in_n[None, :]
    C = tl.load(C_ptr + start * N + rows, mask=in_rows, other=0.0)
    score = product(C, tl.trans(tl.load(B_ptr + start * N + rows, mask=in_rows, other=0.0)))
    number = _documents(resets_ptr + start, in_t, Q, HAS_RESETS)
    chunk = (b * tl.num_programs(1) + g) * H
    places, inside = q[:, None] * (H * P) + p[None, :], in_t[:, None] & in_p[None, :]
    state_places, in_state = p[:, None] * N + n[None, :], in_p[:, None] & in_n[None, :]
    for of_group in range(0, HEADS):
        h = first + of_group
        delta, exponent = _steps(delta_ptr + start * H + h, load(rate_ptr, h, True), in_t, Q, H)
        between, from_start = _between(exponent, number, Q, SUMS_PAIRS)
        x = tl.load(x_ptr + (start * H + h) * P + places, mask=inside, other=0.0)
        within = product((score * between * delta[None, :]).to(half), x)
        before = tl.load(before_ptr + (chunk + h) * (P * N) + state_places, mask=in_state, other=0.0)
        y = within + product(C, tl.trans(before)) * from_start[:, None]
        if HAS_SKIP:
            y += load(skip_ptr, h, True) * x.to(tl.float32)
        tl.store(y_ptr + (start * H + h) * P + places, y, mask=inside)


@kernel
def read_gradients(
    x_ptr,
    delta_ptr,
    rate_ptr,
    B_ptr,
    C_ptr,
    before_ptr,
    resets_ptr,
    grad_y_ptr,
    grad_C_ptr,
    grad_score_ptr,
    grad_delta_ptr,
    passing_ptr,
    grad_skip_ptr,
    T,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HEADS: tl.constexpr,
    HAS_SKIP: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    SUMS_PAIRS: tl.constexpr,
):
    """Write what follows from how a chunk reads: the share of HEADS heads in the gradients of C and of the scores.

    Beside it, that of D, and of each token what the step size has of pairs in the chunk and what of y passes the token:
    each share of y has part in the gradient of a[t] of every token t between its source and it.
    """
    b, g, first = tl.program_id(2).to(tl.int64), tl.program_id(1), tl.program_id(0) * HEADS
    q, p, n = tl.arange(0, Q), tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_N)
    in_t, in_p, in_n = q < T - g * Q, (p < P) | (P == BLOCK_P), (n < N) | (N == BLOCK_N)
    start, chunk = b * T + g * Q, b * tl.num_programs(1) + g
    half = x_ptr.dtype.element_ty
    rows, in_rows = q[:, None] * N + n[None, :], in_t[:, None] & in_n[None, :]
    places, inside = q[:, None] * (H * P) + p[None, :], in_t[:, None] & in_p[None, :]
    state_places, in_state = p[:, None] * N + n[None, :], in_p[:, None] & in_n[None, :]
    B = tl.load(B_ptr + start * N + rows, mask=in_rows, other=0.0)
    C = tl.load(C_ptr + start * N + rows, mask=in_rows, other=0.0)
    score = product(C, tl.trans(B))
    number = _documents(resets_ptr + start, in_t, Q, HAS_RESETS)
    grad_C, grad_score = tl.zeros([Q, BLOCK_N], tl.float32), tl.zeros([Q, Q], tl.float32)
    for of_group in range(0, HEADS):
        h = first + of_group
        delta, exponent = _steps(delta_ptr + start * H + h, load(rate_ptr, h, True), in_t, Q, H)
        between, from_start = _between(exponent, number, Q, SUMS_PAIRS)
        x = tl.load(x_ptr + (start * H + h) * P + places, mask=inside, other=0.0)
        grad_y = tl.load(grad_y_ptr + (start * H + h) * P + places, mask=inside, other=0.0)
        weighted = product(grad_y, tl.trans(x)) * between
        grad_score += weighted * delta[None, :]
        weighted *= score
        grad_delta = tl.sum(weighted, axis=0)
        passing = tl.sum(weighted * delta[None, :], axis=1) - delta * grad_delta
        before = tl.load(before_ptr + (chunk * H + h) * (P * N) + state_places, mask=in_state, other=0.0)
        whole_grad = grad_y.to(tl.float32)
        if HAS_SKIP:
            tl.store(grad_skip_ptr + chunk * H + h, tl.sum(tl.sum(whole_grad * x.to(tl.float32), axis=1)))
        passing += tl.sum(whole_grad * product(C, tl.trans(before)), axis=1) * from_start
        grad_C = product_added((whole_grad * from_start[:, None]).to(half), before, grad_C)
        tl.store(grad_delta_ptr + start * H + h + q * H, grad_delta, mask=in_t)
        # The last place of a chunk stands behind its last token, whether there is one or not.
        tl.store(passing_ptr + (chunk * Q + q) * H + h, passing)
    group = tl.program_id(0) * tl.num_programs(2)
    pairs = ((group + b) * tl.num_programs(1) + g) * (Q * Q) + q[:, None] * Q + q[None, :]
    tl.store(grad_score_ptr + pairs, grad_score)
    grad_C = product_added(grad_score.to(half), B, grad_C)
    tl.store(grad_C_ptr + ((group + b) * T + g * Q) * N + rows, grad_C, mask=in_rows)


@kernel
def write_gradients(
    x_ptr,
    delta_ptr,
    rate_ptr,
    B_ptr,
    C_ptr,
    skip_ptr,
    grad_behind_ptr,
    resets_ptr,
    grad_y_ptr,
    grad_score_ptr,
    passing_ptr,
    kept_ptr,
    grad_delta_ptr,
    grad_x_ptr,
    grad_rate_ptr,
    grad_B_ptr,
    T,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HEADS: tl.constexpr,
    SHARES: tl.constexpr,
    HAS_SKIP: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    SUMS_PAIRS: tl.constexpr,
):
    """Write what follows from what a chunk writes: of HEADS heads the gradients of x, delta and A, and a share of B's.

    Runs behind `read_gradients`, whose part of the gradients of delta it completes.
    """
    b, g, first = tl.program_id(2).to(tl.int64), tl.program_id(1), tl.program_id(0) * HEADS
    q, p, n = tl.arange(0, Q), tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_N)
    in_t, in_p, in_n = q < T - g * Q, (p < P) | (P == BLOCK_P), (n < N) | (N == BLOCK_N)
    start, chunk = b * T + g * Q, b * tl.num_programs(1) + g
    half = x_ptr.dtype.element_ty
    rows, in_rows = q[:, None] * N + n[None, :], in_t[:, None] & in_n[None, :]
    places, inside = q[:, None] * (H * P) + p[None, :], in_t[:, None] & in_p[None, :]
    state_places, in_state = p[:, None] * N + n[None, :], in_p[:, None] & in_n[None, :]
    B = tl.load(B_ptr + start * N + rows, mask=in_rows, other=0.0)
    C = tl.load(C_ptr + start * N + rows, mask=in_rows, other=0.0)
    score = product(C, tl.trans(B))
    number = _documents(resets_ptr + start, in_t, Q, HAS_RESETS)
    group = tl.program_id(0) * tl.num_programs(2)
    pairs = ((group + b) * tl.num_programs(1) + g) * (Q * Q) + q[:, None] * Q + q[None, :]
    grad_score = tl.load(grad_score_ptr + pairs).to(half)
    grad_B = product(tl.trans(grad_score), C)
    # What is the same for all heads is made again for each: kept in registers, it would not leave enough of them.
    for of_group in tl.range(0, HEADS, disable_licm=True):
        h = first + of_group
        rate = load(rate_ptr, h, True)
        delta, exponent = _steps(delta_ptr + start * H + h, rate, in_t, Q, H)
        between, _ = _between(exponent, number, Q, SUMS_PAIRS)
        to_end = _to_end(exponent, number, Q, SUMS_PAIRS)
        of_head = (start * H + h) * P
        grad_y = tl.load(grad_y_ptr + of_head + places, mask=inside, other=0.0)
        grad_x = product(tl.trans((score * between).to(half)), grad_y) * delta[:, None]
        x = tl.load(x_ptr + of_head + places, mask=inside, other=0.0).to(tl.float32)
        if HAS_SKIP:
            grad_x += load(skip_ptr, h, True) * grad_y.to(tl.float32)
        behind = tl.load(grad_behind_ptr + (chunk * H + h) * (P * N) + state_places, mask=in_state, other=0.0)
        grad_drive = product(B, tl.trans(behind)) * to_end[:, None]
        driven = tl.sum(grad_drive * x, axis=1)
        grad_x += grad_drive * delta[:, None]
        tl.store(grad_x_ptr + of_head + places, grad_x, mask=inside)
        grad_B = product_added((x * (to_end * delta)[:, None]).to(half), behind, grad_B)
        passing = tl.load(passing_ptr + (chunk * Q + q) * H + h)
        kept = tl.sum(driven * delta)
        for share in tl.static_range(SHARES):
            kept += load(kept_ptr, (chunk * H + h) * SHARES + share, True)
        passing += tl.where(q == Q - 1, kept, 0.0) - driven * delta
        grad_a = tl.cumsum(passing, axis=0, reverse=True)
        grad_delta_place = grad_delta_ptr + start * H + h + q * H
        grad_delta = tl.load(grad_delta_place, mask=in_t, other=0.0) + driven + grad_a * rate
        tl.store(grad_delta_place, grad_delta, mask=in_t)
        tl.store(grad_rate_ptr + chunk * H + h, tl.sum(grad_a * delta))
    tl.store(grad_B_ptr + ((group + b) * T + g * Q) * N + rows, grad_B, mask=in_rows)
