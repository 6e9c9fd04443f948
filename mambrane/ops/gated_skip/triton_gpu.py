"""The skip and the gate of Mamba on a GPU, in Triton: one kernel forward, one backward; only the inputs are saved.

The formula is in `reference.py`. With g the gradient of the output and s = sigmoid(z):

    dy = g z s        dx = D dy        dz = g (y + D x) s (1 + z (1 - s))        dD = sum over tokens of dy x

Each tile's share of dD is added up in one order. The step size (softplus) before the scan and the norm behind the gate
of Mamba 2 are one kernel of PyTorch each, and part of no operation here: `torch.compile` joins them to what is around
them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels
from mambrane.kernels.triton.operators import TYPES, gpu_operator

__all__ = ["TYPES", "gated_skip_triton"]

BLOCK_TOKENS, BLOCK_CHANNELS, NUM_WARPS = 16, 128, 4

_KERNELS = Kernels("mambrane.ops.gated_skip.triton_kernels")


def gated_skip_triton(y_BTE: Tensor, x_BTE: Tensor, skip_E: Tensor, gate_BTE: Tensor) -> Tensor:
    """Return the gated output; arguments as in `mambrane.ops.gated_skip.gated_skip`."""
    return _gate(*(each.contiguous() for each in (y_BTE, x_BTE, skip_E, gate_BTE))).out_BTE


class _Inputs(NamedTuple):
    y_BTE: Tensor
    x_BTE: Tensor
    skip_E: Tensor
    gate_BTE: Tensor


class _Outputs(NamedTuple):
    out_BTE: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.y_BTE))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    rows, channels = inputs.y_BTE.shape[:2].numel(), inputs.y_BTE.shape[2]
    grid = (count_blocks(channels, BLOCK_CHANNELS), count_blocks(rows, BLOCK_TOKENS))
    _KERNELS.start("forward", grid, *inputs, *outputs, rows, **_constants(channels))


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    rows, channels = saved.y_BTE.shape[:2].numel(), saved.y_BTE.shape[2]
    grid = (count_blocks(channels, BLOCK_CHANNELS), count_blocks(rows, BLOCK_TOKENS))
    grad_y, grad_x, grad_gate = (torch.empty_like(each) for each in (saved.y_BTE, saved.x_BTE, saved.gate_BTE))
    partial_skip = saved.y_BTE.new_empty(grid[1], channels, dtype=torch.float32)
    given = (grads.out_BTE, *saved, grad_y, grad_x, partial_skip, grad_gate, rows)
    _KERNELS.start("backward", grid, *given, **_constants(channels))
    return grad_y, grad_x, partial_skip.sum(dim=0).to(saved.skip_E.dtype), grad_gate


def _constants(channels: int) -> dict[str, Any]:
    """Return what both kernels are compiled for."""
    return {"E": channels, "BLOCK_T": BLOCK_TOKENS, "BLOCK_E": BLOCK_CHANNELS, "num_warps": NUM_WARPS}


_gate = gpu_operator(
    "gated_skip",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Inputs._fields,
    gradients={name: name for name in _Inputs._fields},
)
