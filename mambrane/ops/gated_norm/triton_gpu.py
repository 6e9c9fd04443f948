"""Gate and norm of Mamba 2 on a GPU, in Triton: one kernel forward, one backward; only the inputs are saved.

The formula is in `reference.py`. With g the gradient of the output, s = sigmoid(z), u = y z s and
r = 1 / sqrt(mean(u^2) + eps) of a row:

    du = r (g w - u r^2 mean(g w u))        dy = du z s        dz = du y s (1 + z (1 - s))        dw = sum of g u r

A program walks through rows of one group; its share of dw is added up in one order.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels, power_of_two
from mambrane.kernels.triton.operators import TYPES, gpu_operator

__all__ = ["TYPES", "gated_norm_triton", "supports"]

LARGEST_WIDTH = 16384
"""Numbers of a row that fit the registers of a program."""
PROGRAMS = 512
"""Of the backward kernel, at most."""

_KERNELS = Kernels("mambrane.ops.gated_norm.triton_kernels")


def gated_norm_triton(y_BTE: Tensor, gate_BTE: Tensor, weight_E: Tensor, *, eps: float, groups: int) -> Tensor:
    """Return the normalised numbers; arguments as in `mambrane.ops.gated_norm.gated_norm`."""
    return _norm(*(each.contiguous() for each in (y_BTE, gate_BTE, weight_E)), eps, groups).out_BTE


def supports(y_BTE: Tensor, *_: Any, groups: int, **__: Any) -> str | None:  # noqa: ANN401 -- the rest of a call
    """Return why a call is not for these kernels, or None."""
    is_wide = y_BTE.shape[-1] > LARGEST_WIDTH * groups
    return f"it is for groups of at most {LARGEST_WIDTH} channels" if is_wide else None


class _Inputs(NamedTuple):
    y_BTE: Tensor
    gate_BTE: Tensor
    weight_E: Tensor
    eps: float
    groups: int


class _Outputs(NamedTuple):
    out_BTE: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.y_BTE))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    rows = inputs.y_BTE.shape[:2].numel()
    _KERNELS.start("forward", (rows, inputs.groups), *inputs[:3], *outputs, inputs.eps, **_constants(inputs))


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    y, gate, weight = saved[:3]
    rows = y.shape[:2].numel()
    rows_of_program = count_blocks(rows, PROGRAMS)
    num_programs = count_blocks(rows, rows_of_program) if rows else 0
    grad_y, grad_gate = torch.empty_like(y), torch.empty_like(gate)
    partial_weight = y.new_empty(num_programs, weight.shape[0], dtype=torch.float32)
    _KERNELS.start(
        "backward",
        (num_programs, saved.groups),
        *(grads.out_BTE, y, gate, weight, grad_y, grad_gate, partial_weight, rows, rows_of_program, saved.eps),
        **_constants(saved),
    )
    return grad_y, grad_gate, partial_weight.sum(dim=0).to(weight.dtype)


def _constants(inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what both kernels are compiled for."""
    channels = inputs.y_BTE.shape[2]
    width = channels // inputs.groups
    block = power_of_two(width)
    # A thread takes 16 numbers of a row.
    return {"E": channels, "D": width, "BLOCK": block, "num_warps": min(16, max(1, block // 512))}


_norm = gpu_operator(
    "gated_norm",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Inputs._fields,
    gradients={name: name for name in ("y_BTE", "gate_BTE", "weight_E")},
)
