"""The kernels of the causal trace on a GPU; `triton_gpu.py` says how they work together.

A program is one warp: 32 units of one sequence. Rows of UNROLL tokens are loaded together, so that a token does not
wait for memory. They are compiled without fused multiply-adds, so that traces equal the reference's bit for bit.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, load_flag


@kernel
def forward(
    x_ptr,
    decay_ptr,
    state_ptr,
    resets_ptr,
    trace_ptr,
    whole_ptr,
    last_ptr,
    T,
    number,
    S: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    IS_NUMBER: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    KEEPS_WHOLE: tl.constexpr,
):
    """Run the traces of a block through all tokens."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_s = (s < S) | (S % BLOCK == 0)
    r = tl.zeros([BLOCK], tl.float32)
    decay = r + number if IS_NUMBER else load(decay_ptr, s, in_s)
    if HAS_STATE:
        r = load(state_ptr + b * S, s, in_s)
    for start in range(0, T, UNROLL):
        rows, resets = (), ()
        for i in tl.static_range(UNROLL):
            row, is_there = b * T + start + i, (start + i < T) | IS_WHOLE
            rows = rows + (load(x_ptr + row * S, s, in_s & is_there),)
            if HAS_RESETS:
                resets = resets + (load_flag(resets_ptr, row, is_there),)
        for i in tl.static_range(UNROLL):
            row, is_there = (b * T + start + i) * S, (start + i < T) | IS_WHOLE
            if HAS_RESETS:
                r = tl.where(resets[i], 0.0, r)
            r = tl.where(is_there, decay * r + (1.0 - decay) * rows[i], r)
            tl.store(trace_ptr + row + s, r, mask=in_s & is_there)
            if KEEPS_WHOLE:
                tl.store(whole_ptr + row + s, r, mask=in_s & is_there)
    tl.store(last_ptr + b * S + s, r, mask=in_s)


@kernel
def backward(
    x_ptr,
    decay_ptr,
    state_ptr,
    resets_ptr,
    whole_ptr,
    grad_trace_ptr,
    grad_last_ptr,
    grad_x_ptr,
    grad_decay_ptr,
    grad_first_ptr,
    T,
    number,
    S: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    IS_NUMBER: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    KEEPS_WHOLE: tl.constexpr,
    HAS_GRAD_TRACE: tl.constexpr,
    HAS_GRAD_LAST: tl.constexpr,
):
    """Go back through all tokens of a block of units."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_s = (s < S) | (S % BLOCK == 0)
    grad, first = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    grad_decay = tl.zeros([BLOCK], tl.float32)
    decay = grad + number if IS_NUMBER else load(decay_ptr, s, in_s)
    if HAS_GRAD_LAST:
        grad = load(grad_last_ptr + b * S, s, in_s)
    if HAS_STATE:
        first = load(state_ptr + b * S, s, in_s)
    for done in range(0, T, UNROLL):
        grads, resets = (), ()
        for i in tl.static_range(UNROLL):
            t = T - 1 - done - i
            is_there = (t >= 0) | IS_WHOLE
            if HAS_GRAD_TRACE:
                grads = grads + (load(grad_trace_ptr + (b * T + t) * S, s, in_s & is_there),)
            if HAS_RESETS:
                resets = resets + (load_flag(resets_ptr, b * T + t, is_there),)
        for i in tl.static_range(UNROLL):
            t = T - 1 - done - i
            is_there = (t >= 0) | IS_WHOLE
            row, here = (b * T + t) * S, in_s & is_there
            if HAS_GRAD_TRACE:
                grad = grad + grads[i]
            tl.store(grad_x_ptr + row + s, (1.0 - decay) * grad, mask=here)
            passed = decay * grad
            if KEEPS_WHOLE:
                found = tl.where(t > 0, load(whole_ptr + row - S, s, in_s & (t > 0)), first)
                if HAS_RESETS:
                    found = tl.where(resets[i], 0.0, found)
                grad_decay += tl.where(is_there, grad * (found - load(x_ptr + row, s, here)), 0.0)
            if HAS_RESETS:
                passed = tl.where(resets[i], 0.0, passed)
            grad = tl.where(is_there, passed, grad)
    if KEEPS_WHOLE:
        tl.store(grad_decay_ptr + b * S + s, grad_decay, mask=in_s)
    if HAS_STATE:
        tl.store(grad_first_ptr + b * S + s, grad, mask=in_s)
