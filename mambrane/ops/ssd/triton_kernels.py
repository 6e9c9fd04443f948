"""The kernels that pass states on from chunk to chunk of SSD on a GPU; see `triton_gpu.py`."""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load


@kernel
def forward(
    first_ptr,
    decay_ptr,
    added_ptr,
    before_ptr,
    last_ptr,
    G,
    H: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the state before each of G chunks, and the last: M numbers of each of H heads, one decay for a head."""
    b, h = tl.program_id(2).to(tl.int64), tl.program_id(1)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (m < M) | (M % BLOCK == 0)
    state = load(first_ptr + (b * H + h) * M, m, inside)
    for g in range(0, G):
        chunk = (b * G + g) * H + h
        tl.store(before_ptr + chunk * M + m, state, mask=inside)
        state = tl.load(decay_ptr + chunk) * state + load(added_ptr + chunk * M, m, inside)
    tl.store(last_ptr + (b * H + h) * M + m, state, mask=inside)


@kernel
def backward(
    decay_ptr,
    before_ptr,
    grad_before_ptr,
    grad_last_ptr,
    grad_first_ptr,
    grad_decay_ptr,
    grad_added_ptr,
    G,
    H: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_GRAD_BEFORE: tl.constexpr,
    HAS_GRAD_LAST: tl.constexpr,
):
    """Write the gradients of the first state and of what each chunk adds, and the block's share of those of decays."""
    b, h = tl.program_id(2).to(tl.int64), tl.program_id(1)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (m < M) | (M % BLOCK == 0)
    grad = tl.zeros([BLOCK], tl.float32)
    if HAS_GRAD_LAST:
        grad = load(grad_last_ptr + (b * H + h) * M, m, inside)
    for done in range(0, G):
        chunk = (b * G + G - 1 - done) * H + h
        tl.store(grad_added_ptr + chunk * M + m, grad, mask=inside)
        share = tl.sum(grad * load(before_ptr + chunk * M, m, inside), axis=0)
        tl.store(grad_decay_ptr + chunk * tl.num_programs(0) + tl.program_id(0), share)
        grad = tl.load(decay_ptr + chunk) * grad
        if HAS_GRAD_BEFORE:
            grad += load(grad_before_ptr + chunk * M, m, inside)
    tl.store(grad_first_ptr + (b * H + h) * M + m, grad, mask=inside)
