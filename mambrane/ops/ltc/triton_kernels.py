"""The kernels of the LTC cell on a GPU; `triton_gpu.py` says how they work together.

A tile is [presynaptic, postsynaptic] synapses; their four numbers are read from the second cache. In the two kernels
that follow time a program is one sequence; what a block leaves for the next ones goes through global memory of the
program, behind a barrier.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, load_flag, sigmoid


@kernel
def _open(v, w_ptr, mu_ptr, sigma_ptr, pre, post, P: tl.constexpr, L: tl.constexpr):
    """Return w, sigma, v - mu and how far each synapse of a tile is open."""
    places, inside = pre[:, None] * L + post[None, :], (pre < P)[:, None] & (post < L)[None, :]
    w, sigma = load(w_ptr, places, inside), load(sigma_ptr, places, inside)
    distance = v[:, None] - load(mu_ptr, places, inside)
    return w, sigma, distance, sigmoid(sigma * distance)


@kernel
def _receive(
    v_ptr,
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    post,
    P: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return the pull and the conductance that some units receive."""
    pull, conductance = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(0, P, BLOCK):
        pre = start + tl.arange(0, BLOCK)
        inside = (pre < P)[:, None] & (post < L)[None, :]
        w, _, _, opening = _open(load(v_ptr, pre, pre < P), w_ptr, mu_ptr, sigma_ptr, pre, post, P, L)
        current = w * opening
        pull += tl.sum(current * load(erev_ptr, pre[:, None] * L + post[None, :], inside), axis=0)
        conductance += tl.sum(current, axis=0)
    return pull, conductance


@kernel
def _send_back(
    v,
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    grad_pull_ptr,
    grad_conductance_ptr,
    pre,
    P: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return the gradient of what some presynaptic units read."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, L, BLOCK):
        post = start + tl.arange(0, BLOCK)
        inside = (pre < P)[:, None] & (post < L)[None, :]
        w, sigma, _, opening = _open(v, w_ptr, mu_ptr, sigma_ptr, pre, post, P, L)
        grad_pull, grad_conductance = load(grad_pull_ptr, post, post < L), load(grad_conductance_ptr, post, post < L)
        erev = load(erev_ptr, pre[:, None] * L + post[None, :], inside)
        grad = (grad_pull[None, :] * erev + grad_conductance[None, :]) * w * opening * (1.0 - opening) * sigma
        total += tl.sum(grad, axis=1)
    return total


@kernel
def receive(
    v_ptr,
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    pull_ptr,
    conductance_ptr,
    P: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the pull and the conductance of a block of units at one row (token)."""
    row = tl.program_id(1).to(tl.int64)
    post = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pull, conductance = _receive(v_ptr + row * P, w_ptr, mu_ptr, sigma_ptr, erev_ptr, post, P, L, BLOCK)
    tl.store(pull_ptr + row * L + post, pull, mask=post < L)
    tl.store(conductance_ptr + row * L + post, conductance, mask=post < L)


@kernel
def send_back(
    v_ptr,
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    grad_pull_ptr,
    grad_conductance_ptr,
    grad_v_ptr,
    P: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient of what a block of presynaptic units reads at one row."""
    row = tl.program_id(1).to(tl.int64)
    pre = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = load(v_ptr + row * P, pre, pre < P)
    pull_ptr, conductance_ptr = grad_pull_ptr + row * L, grad_conductance_ptr + row * L
    grad = _send_back(v, w_ptr, mu_ptr, sigma_ptr, erev_ptr, pull_ptr, conductance_ptr, pre, P, L, BLOCK)
    tl.store(grad_v_ptr + row * P + pre, grad, mask=pre < P)


@kernel
def synapse_gradients(
    v_ptr,
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    grad_pull_ptr,
    grad_conductance_ptr,
    share_ptr,
    R,
    CHUNK,
    P: tl.constexpr,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write a chunk of rows' share of the gradients of w, mu, sigma and erev, for a tile of synapses."""
    pre = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    post = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    chunk = tl.program_id(2).to(tl.int64)
    places, inside = pre[:, None] * L + post[None, :], (pre < P)[:, None] & (post < L)[None, :]
    erev = load(erev_ptr, places, inside)
    grad_w, grad_mu = tl.zeros([BLOCK, BLOCK], tl.float32), tl.zeros([BLOCK, BLOCK], tl.float32)
    grad_sigma, grad_erev = tl.zeros([BLOCK, BLOCK], tl.float32), tl.zeros([BLOCK, BLOCK], tl.float32)
    for row in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, R)):
        v = load(v_ptr + row * P, pre, pre < P)
        w, sigma, distance, opening = _open(v, w_ptr, mu_ptr, sigma_ptr, pre, post, P, L)
        grad_pull = load(grad_pull_ptr + row * L, post, post < L)
        grad_conductance = load(grad_conductance_ptr + row * L, post, post < L)
        grad_current = grad_pull[None, :] * erev + grad_conductance[None, :]
        grad_inner = grad_current * w * opening * (1.0 - opening)
        grad_w += grad_current * opening
        grad_mu -= grad_inner * sigma
        grad_sigma += grad_inner * distance
        grad_erev += grad_pull[None, :] * w * opening
    share_at = share_ptr + chunk * 4 * P * L + places
    tl.store(share_at, grad_w, mask=inside)
    tl.store(share_at + P * L, grad_mu, mask=inside)
    tl.store(share_at + 2 * P * L, grad_sigma, mask=inside)
    tl.store(share_at + 3 * P * L, grad_erev, mask=inside)


@kernel
def _step(
    step_ptr,
    row,
    post,
    L: tl.constexpr,
    UNFOLDS: tl.constexpr,
    HAS_STEP: tl.constexpr,
    IS_PER_UNIT: tl.constexpr,
):
    """Return the length of a step of some units at a row."""
    step = tl.zeros([post.shape[0]], tl.float32) + 1.0 / UNFOLDS
    if HAS_STEP:
        if IS_PER_UNIT:
            step = load(step_ptr + row * L, post, post < L)
        else:
            step = tl.zeros([post.shape[0]], tl.float32) + tl.load(step_ptr + row)
    return step


@kernel
def forward(
    pull_ptr,
    conductance_ptr,
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    cm_ptr,
    state_ptr,
    resets_ptr,
    step_ptr,
    hidden_ptr,
    last_ptr,
    states_ptr,
    sums_ptr,
    T,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
    UNFOLDS: tl.constexpr,
    HAS_STATE: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_STEP: tl.constexpr,
    IS_PER_UNIT: tl.constexpr,
):
    """Run a sequence. states: v before each step; sums: the pull and the conductance of each step."""
    b = tl.program_id(0).to(tl.int64)
    for t in range(0, T):
        row = b * T + t
        for start in range(0, L, BLOCK):
            post = start + tl.arange(0, BLOCK)
            v = tl.zeros([BLOCK], tl.float32)
            if HAS_STATE:
                v = load(state_ptr + b * L, post, (post < L) & (t == 0))
            v += load(last_ptr + b * L, post, (post < L) & (t > 0))
            if HAS_RESETS:
                v = tl.where(load_flag(resets_ptr, row, t < T), 0.0, v)
            tl.store(states_ptr + row * UNFOLDS * L + post, v, mask=post < L)
        tl.debug_barrier()
        for k in range(0, UNFOLDS):
            v_ptr = states_ptr + (row * UNFOLDS + k) * L
            for start in range(0, L, BLOCK):
                post = start + tl.arange(0, BLOCK)
                in_l = post < L
                pull, conductance = _receive(v_ptr, w_ptr, mu_ptr, sigma_ptr, erev_ptr, post, L, L, BLOCK)
                pull += load(pull_ptr + row * L, post, in_l)
                conductance += load(conductance_ptr + row * L, post, in_l)
                cm, step = load(cm_ptr, post, in_l), _step(step_ptr, row, post, L, UNFOLDS, HAS_STEP, IS_PER_UNIT)
                # Beyond the units there is nothing to divide.
                below = tl.where(in_l, cm + step * conductance, 1.0)
                v = (cm * load(v_ptr, post, in_l) + step * pull) / below
                sums_at = sums_ptr + (row * UNFOLDS + k) * 2 * L + post
                tl.store(sums_at, pull, mask=in_l)
                tl.store(sums_at + L, conductance, mask=in_l)
                tl.store(v_ptr + L + post, v, mask=in_l & (k < UNFOLDS - 1))
                tl.store(hidden_ptr + row * L + post, v, mask=in_l & (k == UNFOLDS - 1))
                tl.store(last_ptr + b * L + post, v, mask=in_l & (k == UNFOLDS - 1))
            tl.debug_barrier()


@kernel
def backward(
    w_ptr,
    mu_ptr,
    sigma_ptr,
    erev_ptr,
    cm_ptr,
    resets_ptr,
    step_ptr,
    states_ptr,
    sums_ptr,
    grad_hidden_ptr,
    grad_last_ptr,
    grad_v_ptr,
    grad_above_ptr,
    grad_below_ptr,
    grad_pull_ptr,
    grad_conductance_ptr,
    T,
    L: tl.constexpr,
    BLOCK: tl.constexpr,
    UNFOLDS: tl.constexpr,
    HAS_RESETS: tl.constexpr,
    HAS_STEP: tl.constexpr,
    IS_PER_UNIT: tl.constexpr,
    HAS_GRAD_HIDDEN: tl.constexpr,
    HAS_GRAD_LAST: tl.constexpr,
):
    """Go back through a sequence: gradients of both sides of each step's fraction, and of its pull and conductance."""
    b = tl.program_id(0).to(tl.int64)
    for start in range(0, L, BLOCK):
        post = start + tl.arange(0, BLOCK)
        grad = tl.zeros([BLOCK], tl.float32)
        if HAS_GRAD_LAST:
            grad = load(grad_last_ptr + b * L, post, post < L)
        tl.store(grad_v_ptr + b * L + post, grad, mask=post < L)
    tl.debug_barrier()
    for done in range(0, T * UNFOLDS):
        t, k = T - 1 - done // UNFOLDS, UNFOLDS - 1 - done % UNFOLDS
        row = b * T + t
        place = (row * UNFOLDS + k) * L
        for start in range(0, L, BLOCK):
            post = start + tl.arange(0, BLOCK)
            in_l = post < L
            grad = load(grad_v_ptr + b * L, post, in_l)
            if HAS_GRAD_HIDDEN:
                grad += load(grad_hidden_ptr + row * L, post, in_l & (k == UNFOLDS - 1))
            cm, step = load(cm_ptr, post, in_l), _step(step_ptr, row, post, L, UNFOLDS, HAS_STEP, IS_PER_UNIT)
            pull, conductance = load(sums_ptr + 2 * place, post, in_l), load(sums_ptr + 2 * place + L, post, in_l)
            below = tl.where(in_l, cm + step * conductance, 1.0)
            grad_above = grad / below
            grad_below = -grad_above * (cm * load(states_ptr + place, post, in_l) + step * pull) / below
            tl.store(grad_above_ptr + place + post, grad_above, mask=in_l)
            tl.store(grad_below_ptr + place + post, grad_below, mask=in_l)
            tl.store(grad_pull_ptr + place + post, grad_above * step, mask=in_l)
            tl.store(grad_conductance_ptr + place + post, grad_below * step, mask=in_l)
        tl.debug_barrier()
        for start in range(0, L, BLOCK):
            pre = start + tl.arange(0, BLOCK)
            v = load(states_ptr + place, pre, pre < L)
            to_pull, to_conductance = grad_pull_ptr + place, grad_conductance_ptr + place
            grad = _send_back(v, w_ptr, mu_ptr, sigma_ptr, erev_ptr, to_pull, to_conductance, pre, L, L, BLOCK)
            grad += load(cm_ptr, pre, pre < L) * load(grad_above_ptr + place, pre, pre < L)
            if HAS_RESETS:
                grad = tl.where(load_flag(resets_ptr, row, k == 0), 0.0, grad)
            tl.store(grad_v_ptr + b * L + pre, grad, mask=pre < L)
        tl.debug_barrier()
