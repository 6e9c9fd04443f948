"""The kernels of the gated skip on a GPU: one pass over every number in each direction; see `triton_gpu.py`."""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, sigmoid


@kernel
def forward(
    y_ptr,
    x_ptr,
    skip_ptr,
    gate_ptr,
    out_ptr,
    R,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Write a tile of rows (tokens) and channels."""
    r = tl.program_id(1).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    e = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    in_e = (e < E) | (E % BLOCK_E == 0)
    places, inside = r[:, None] * E + e[None, :], (r < R)[:, None] & in_e[None, :]
    gate = load(gate_ptr, places, inside)
    mixed = load(y_ptr, places, inside) + load(skip_ptr, e, in_e)[None, :] * load(x_ptr, places, inside)
    tl.store(out_ptr + places, mixed * (gate * sigmoid(gate)), mask=inside)


@kernel
def backward(
    grad_ptr,
    y_ptr,
    x_ptr,
    skip_ptr,
    gate_ptr,
    grad_y_ptr,
    grad_x_ptr,
    grad_skip_ptr,
    grad_gate_ptr,
    R,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Write the gradients of a tile, and its share of the one of the skip."""
    block = tl.program_id(1).to(tl.int64)
    r, e = block * BLOCK_T + tl.arange(0, BLOCK_T), tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    in_e = (e < E) | (E % BLOCK_E == 0)
    places, inside = r[:, None] * E + e[None, :], (r < R)[:, None] & in_e[None, :]
    gate, grad = load(gate_ptr, places, inside), load(grad_ptr, places, inside)
    x, skip = load(x_ptr, places, inside), load(skip_ptr, e, in_e)
    s = sigmoid(gate)
    grad_y = grad * (gate * s)
    mixed = load(y_ptr, places, inside) + skip[None, :] * x
    tl.store(grad_y_ptr + places, grad_y, mask=inside)
    tl.store(grad_x_ptr + places, skip[None, :] * grad_y, mask=inside)
    tl.store(grad_gate_ptr + places, grad * mixed * (s * (1.0 + gate * (1.0 - s))), mask=inside)
    tl.store(grad_skip_ptr + block * E + e, tl.sum(grad_y * x, axis=0), mask=in_e)
