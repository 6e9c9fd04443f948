"""The kernels of gate and norm on a GPU: one pass over every number in each direction; see `triton_gpu.py`."""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, sigmoid


@kernel
def forward(
    y_ptr,
    gate_ptr,
    weight_ptr,
    out_ptr,
    eps,
    E: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write a group of D numbers of a row of E."""
    d = tl.arange(0, BLOCK)
    in_d = (d < D) | (D == BLOCK)
    channels = tl.program_id(1) * D + d
    row = tl.program_id(0).to(tl.int64) * E
    gate = load(gate_ptr + row, channels, in_d)
    u = load(y_ptr + row, channels, in_d) * (gate * sigmoid(gate))
    scale = 1.0 / tl.sqrt(tl.sum(u * u, axis=0) / D + eps)
    tl.store(out_ptr + row + channels, u * scale * load(weight_ptr, channels, in_d), mask=in_d)


@kernel
def backward(
    grad_ptr,
    y_ptr,
    gate_ptr,
    weight_ptr,
    grad_y_ptr,
    grad_gate_ptr,
    grad_weight_ptr,
    R,
    ROWS,
    eps,
    E: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradients of a group of ROWS rows, and their share of that of the weight."""
    program = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    in_d = (d < D) | (D == BLOCK)
    channels = tl.program_id(1) * D + d
    weight = load(weight_ptr, channels, in_d)
    grad_weight = tl.zeros([BLOCK], tl.float32)
    for of_program in range(0, ROWS):
        r = program * ROWS + of_program
        is_there = in_d & (r < R)
        row = r * E
        gate, y = load(gate_ptr + row, channels, is_there), load(y_ptr + row, channels, is_there)
        grad = load(grad_ptr + row, channels, is_there)
        s = sigmoid(gate)
        u = y * (gate * s)
        scale = 1.0 / tl.sqrt(tl.sum(u * u, axis=0) / D + eps)
        grad_weight += grad * u * scale
        weighted = grad * weight
        mean = tl.sum(weighted * u, axis=0) / D
        grad_u = scale * (weighted - u * (scale * scale * mean))
        tl.store(grad_y_ptr + row + channels, grad_u * (gate * s), mask=is_there)
        tl.store(grad_gate_ptr + row + channels, grad_u * y * (s * (1.0 + gate * (1.0 - s))), mask=is_there)
    tl.store(grad_weight_ptr + program * E + channels, grad_weight, mask=in_d)
