"""The kernels of the causal convolution on a GPU; `triton_gpu.py` says how they work together.

A program owns a tile of tokens and channels of one sequence. Its K shifted loads meet the first cache; each number
comes from memory about once.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, load_flag, sigmoid


@kernel
def _past(x_ptr, state_ptr, b, source, seen, e, in_e, E: tl.constexpr, K: tl.constexpr, HAS_STATE: tl.constexpr):
    """Return the inputs at tokens `source`, from the state where that is before the first; 0 where not seen."""
    x = load(x_ptr, source[:, None] * E + e[None, :], (seen & (source >= 0))[:, None] & in_e[None, :])
    if HAS_STATE:
        places = e[None, :] * (K - 1) + (source + K - 1)[:, None]
        x += load(state_ptr + b * E * (K - 1), places, (seen & (source < 0))[:, None] & in_e[None, :])
    return x


@kernel
def _still_seen(resets_ptr, seen, t, T, HAS_RESETS: tl.constexpr):
    """Return which tokens still see what came before token t: not those after the start of a document at t."""
    if HAS_RESETS:
        seen = seen & (load_flag(resets_ptr, t, (t >= 0) & (t < T)) == 0)
    return seen


@kernel
def _filter(
    x_ptr,
    weight_ptr,
    bias_ptr,
    state_ptr,
    resets_ptr,
    b,
    t,
    e,
    in_e,
    T,
    E: tl.constexpr,
    K: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
):
    """Return u at the tokens t and channels e."""
    u = tl.zeros([t.shape[0], e.shape[0]], tl.float32) + load(bias_ptr, e, in_e)[None, :]
    seen = t < T
    for back in tl.static_range(K):
        if back > 0:
            seen = _still_seen(resets_ptr, seen, t - back + 1, T, HAS_RESETS)
        weight = load(weight_ptr, e * K + (K - 1 - back), in_e)
        u += weight[None, :] * _past(x_ptr, state_ptr, b, t - back, seen, e, in_e, E, K, HAS_STATE)
    return u


@kernel
def forward(
    x_ptr,
    weight_ptr,
    bias_ptr,
    state_ptr,
    resets_ptr,
    y_ptr,
    last_ptr,
    T,
    E: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    APPLIES_SILU: tl.constexpr,
):
    """Write y of a tile, and the last inputs where it is the last of its sequence."""
    b, block = tl.program_id(2).to(tl.int64), tl.program_id(1)
    t, e = block * BLOCK_T + tl.arange(0, BLOCK_T), tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    in_e = (e < E) | (E % BLOCK_E == 0)
    x_ptr += b * T * E
    resets_ptr += b * T
    u = _filter(x_ptr, weight_ptr, bias_ptr, state_ptr, resets_ptr, b, t, e, in_e, T, E, K, HAS_STATE, HAS_RESETS)
    y = u * sigmoid(u) if APPLIES_SILU else u
    places = t[:, None] * E + e[None, :]
    tl.store(y_ptr + b * T * E + places, y, mask=(t < T)[:, None] & in_e[None, :])
    if K > 1 and block == tl.num_programs(1) - 1:
        end = T + tl.arange(0, 1)
        seen = end > 0
        for back in tl.static_range(1, K):
            if back > 1:
                seen = _still_seen(resets_ptr, seen, end - back + 1, T, HAS_RESETS)
            past = _past(x_ptr, state_ptr, b, end - back, seen, e, in_e, E, K, HAS_STATE)
            behind = b * E * (K - 1) + e[None, :] * (K - 1) + (K - 1 - back)
            tl.store(last_ptr + behind, past, mask=in_e[None, :])


@kernel
def filter_gradients(
    x_ptr,
    weight_ptr,
    bias_ptr,
    state_ptr,
    resets_ptr,
    grad_y_ptr,
    grad_u_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    T,
    E: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    APPLIES_SILU: tl.constexpr,
):
    """Write the gradient of u of a tile, and the tile's share of those of weight and bias."""
    b, block = tl.program_id(2).to(tl.int64), tl.program_id(1)
    t, e = block * BLOCK_T + tl.arange(0, BLOCK_T), tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    in_e = (e < E) | (E % BLOCK_E == 0)
    inside = (t < T)[:, None] & in_e[None, :]
    places = t[:, None] * E + e[None, :]
    x_ptr += b * T * E
    resets_ptr += b * T
    grad_u = load(grad_y_ptr + b * T * E, places, inside)
    if APPLIES_SILU:
        u = _filter(x_ptr, weight_ptr, bias_ptr, state_ptr, resets_ptr, b, t, e, in_e, T, E, K, HAS_STATE, HAS_RESETS)
        s = sigmoid(u)
        grad_u *= s * (1.0 + u * (1.0 - s))
    tl.store(grad_u_ptr + b * T * E + places, grad_u, mask=inside)
    share = (b * tl.num_programs(1) + block) * E
    tl.store(grad_bias_ptr + share + e, tl.sum(grad_u, axis=0), mask=in_e)
    seen = t < T
    for back in tl.static_range(K):
        if back > 0:
            seen = _still_seen(resets_ptr, seen, t - back + 1, T, HAS_RESETS)
        past = _past(x_ptr, state_ptr, b, t - back, seen, e, in_e, E, K, HAS_STATE)
        tl.store(grad_weight_ptr + share * K + e * K + (K - 1 - back), tl.sum(grad_u * past, axis=0), mask=in_e)


@kernel
def input_gradients(
    grad_u_ptr,
    weight_ptr,
    resets_ptr,
    grad_last_ptr,
    grad_x_ptr,
    grad_first_ptr,
    T,
    E: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_GRAD_Y: tl.constexpr,
    HAS_GRAD_LAST: tl.constexpr,
):
    """Write the gradient of x, and of the state as that of the K - 1 tokens before the first.

    grad x[t] = sum over j < K of grad u[t + j] weight[K-1-j], where t + j still sees t.
    """
    b = tl.program_id(2).to(tl.int64)
    t = tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T) - (K - 1 if HAS_STATE else 0)
    e = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    in_e = (e < E) | (E % BLOCK_E == 0)
    grad_u_ptr += b * T * E
    resets_ptr += b * T
    grad = tl.zeros([BLOCK_T, BLOCK_E], tl.float32)
    seen = t < T
    for ahead in tl.static_range(K):
        later = t + ahead
        if ahead > 0:
            seen = _still_seen(resets_ptr, seen, later, T, HAS_RESETS)
        if HAS_GRAD_Y:
            inside = (seen & (later >= 0) & (later < T))[:, None] & in_e[None, :]
            weight = load(weight_ptr, e * K + (K - 1 - ahead), in_e)
            grad += weight[None, :] * load(grad_u_ptr, later[:, None] * E + e[None, :], inside)
        if HAS_GRAD_LAST and ahead > 0:
            # As one of the last inputs, of which the newest is one token before the end.
            inside = (seen & (later == T))[:, None] & in_e[None, :]
            places = e[None, :] * (K - 1) + (K - 1 - ahead) + tl.zeros([BLOCK_T, 1], tl.int32)
            grad += load(grad_last_ptr + b * E * (K - 1), places, inside)
    inside = ((t >= 0) & (t < T))[:, None] & in_e[None, :]
    tl.store(grad_x_ptr + b * T * E + t[:, None] * E + e[None, :], grad, mask=inside)
    if HAS_STATE:
        places = b * E * (K - 1) + e[None, :] * (K - 1) + (t + K - 1)[:, None]
        tl.store(grad_first_ptr + places, grad, mask=((t < 0) & (t >= 1 - K))[:, None] & in_e[None, :])
