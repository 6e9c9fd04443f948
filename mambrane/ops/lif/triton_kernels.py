"""The kernels of leaky integrate-and-fire neurons on a GPU; `triton_gpu.py` says how they work together.

A program is one warp: 32 neurons of one sequence. Rows of UNROLL ticks are loaded together, so that a tick does not
wait for memory. Both are compiled without fused multiply-adds: a product that is not rounded would move a membrane by
one bit, and now and then a spike by one tick.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, load_flag


@kernel
def _after(before, threshold, SUBTRACTS: tl.constexpr):
    """Return the membrane after the reset."""
    spike = (before >= threshold).to(tl.float32)
    return before - threshold * spike if SUBTRACTS else before * (1.0 - spike)


@kernel
def _surrogate(x, slope, IS_ATAN: tl.constexpr):
    if IS_ATAN:
        scaled = (slope * 1.5707963267948966) * x
        return (slope / 2) / (1.0 + scaled * scaled)
    base = 1.0 + slope * tl.abs(x)
    return 1.0 / (base * base)


@kernel
def forward(
    current_ptr,
    decay_ptr,
    state_ptr,
    resets_ptr,
    spikes_ptr,
    membrane_ptr,
    last_ptr,
    T,
    threshold,
    S: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    IS_PER_TOKEN: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    SUBTRACTS: tl.constexpr,
    KEEPS_MEMBRANES: tl.constexpr,
):
    """Run the neurons of a block through all ticks."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_s = (s < S) | (S % BLOCK == 0)
    v = tl.zeros([BLOCK], tl.float32)
    if HAS_STATE:
        v = load(state_ptr + b * S, s, in_s)
    decay = tl.zeros([BLOCK], tl.float32)
    if not IS_PER_TOKEN:
        decay = load(decay_ptr, s, in_s)
    for start in range(0, T, UNROLL):
        currents, decays, resets = (), (), ()
        for i in tl.static_range(UNROLL):
            row, is_there = b * T + start + i, (start + i < T) | IS_WHOLE
            currents = currents + (load(current_ptr + row * S, s, in_s & is_there),)
            if IS_PER_TOKEN:
                decays = decays + (load(decay_ptr + row * S, s, in_s & is_there),)
            if HAS_RESETS:
                resets = resets + (load_flag(resets_ptr, row, is_there),)
        for i in tl.static_range(UNROLL):
            is_there = (start + i < T) | IS_WHOLE
            row = (b * T + start + i) * S
            if HAS_RESETS:
                v = tl.where(resets[i], 0.0, v)
            before = (decays[i] if IS_PER_TOKEN else decay) * v + currents[i]
            v = tl.where(is_there, _after(before, threshold, SUBTRACTS), v)
            tl.store(spikes_ptr + row + s, (before >= threshold).to(tl.float32), mask=in_s & is_there)
            if KEEPS_MEMBRANES:
                tl.store(membrane_ptr + row + s, before, mask=in_s & is_there)
    tl.store(last_ptr + b * S + s, v, mask=in_s)


@kernel
def backward(
    membrane_ptr,
    decay_ptr,
    state_ptr,
    resets_ptr,
    grad_spikes_ptr,
    grad_membrane_ptr,
    grad_last_ptr,
    grad_current_ptr,
    grad_decay_ptr,
    grad_first_ptr,
    T,
    threshold,
    slope,
    S: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    IS_PER_TOKEN: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    SUBTRACTS: tl.constexpr,
    DETACHES: tl.constexpr,
    IS_ATAN: tl.constexpr,
    HAS_GRAD_SPIKES: tl.constexpr,
    HAS_GRAD_MEMBRANE: tl.constexpr,
    HAS_GRAD_LAST: tl.constexpr,
):
    """Go back through all ticks of a block of neurons."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_s = (s < S) | (S % BLOCK == 0)
    grad_v, first = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    decay, grad_decay = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if HAS_GRAD_LAST:
        grad_v = load(grad_last_ptr + b * S, s, in_s)
    if HAS_STATE:
        first = load(state_ptr + b * S, s, in_s)
    if not IS_PER_TOKEN:
        decay = load(decay_ptr, s, in_s)
    for done in range(0, T, UNROLL):
        membranes, decays, resets = (), (), ()
        grads_spike, grads_membrane = (), ()
        # One membrane more: that of the tick before.
        for i in tl.static_range(UNROLL + 1):
            t = T - 1 - done - i
            is_there = (t >= 0) | (IS_WHOLE and i < UNROLL)
            membranes = membranes + (load(membrane_ptr + (b * T + t) * S, s, in_s & is_there),)
        for i in tl.static_range(UNROLL):
            t = T - 1 - done - i
            is_there = (t >= 0) | IS_WHOLE
            row, here = (b * T + t) * S, in_s & is_there
            if HAS_GRAD_SPIKES:
                grads_spike = grads_spike + (load(grad_spikes_ptr + row, s, here),)
            if HAS_GRAD_MEMBRANE:
                grads_membrane = grads_membrane + (load(grad_membrane_ptr + row, s, here),)
            if IS_PER_TOKEN:
                decays = decays + (load(decay_ptr + row, s, here),)
            if HAS_RESETS:
                resets = resets + (load_flag(resets_ptr, b * T + t, is_there),)
        for i in tl.static_range(UNROLL):
            t = T - 1 - done - i
            is_there = (t >= 0) | IS_WHOLE
            row, here = (b * T + t) * S, in_s & is_there
            before = membranes[i]
            spike = (before >= threshold).to(tl.float32)
            grad_spike = tl.zeros([BLOCK], tl.float32)
            if HAS_GRAD_SPIKES:
                grad_spike = grads_spike[i]
            if not DETACHES:
                grad_spike = grad_spike - grad_v * (threshold if SUBTRACTS else before)
            kept = grad_v if SUBTRACTS else grad_v * (1.0 - spike)
            grad_before = kept + grad_spike * _surrogate(before - threshold, slope, IS_ATAN)
            if HAS_GRAD_MEMBRANE:
                grad_before += grads_membrane[i]
            found = tl.where(t > 0, _after(membranes[i + 1], threshold, SUBTRACTS), first)
            passed = grad_before * (decays[i] if IS_PER_TOKEN else decay)
            if HAS_RESETS:
                found, passed = tl.where(resets[i], 0.0, found), tl.where(resets[i], 0.0, passed)
            tl.store(grad_current_ptr + row + s, grad_before, mask=here)
            if IS_PER_TOKEN:
                tl.store(grad_decay_ptr + row + s, grad_before * found, mask=here)
            else:
                grad_decay += tl.where(is_there, grad_before * found, 0.0)
            grad_v = tl.where(is_there, passed, grad_v)
    if not IS_PER_TOKEN:
        tl.store(grad_decay_ptr + b * S + s, grad_decay, mask=in_s)
    if HAS_STATE:
        tl.store(grad_first_ptr + b * S + s, grad_v, mask=in_s)
