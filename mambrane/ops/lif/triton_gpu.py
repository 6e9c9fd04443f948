"""Leaky integrate-and-fire neurons on a GPU, in Triton: one pass over time in each direction.

The formulas are in `reference.py` and `numba_cpu.py`. A reset is not linear, so the ticks of a sequence stay in their
order; sequences and neurons run side by side. Kept for the backward pass is the membrane before the reset alone:
spikes, states and the surrogate follow from it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.operator import is_differentiated
from mambrane.kernels.triton.launch import Kernels, power_of_two
from mambrane.kernels.triton.operators import TYPES, gpu_operator
from mambrane.ops.lif.reference import LifOutput, Reset, Surrogate

__all__ = ["TYPES", "lif_triton"]

BLOCK_UNITS = 32
UNROLLED_TICKS, UNROLLED_TICKS_BACK = 32, 16
"""Ticks whose rows are loaded together, at most, forward and backward: they wait for memory once."""

_KERNELS = Kernels("mambrane.ops.lif.triton_kernels")


def lif_triton(
    current_BTS: Tensor,
    decay: Tensor,
    *,
    threshold: float,
    state_BS: Tensor | None,
    resets_BT: Tensor | None,
    reset: Reset,
    detach_reset: bool,
    surrogate: Surrogate,
    surrogate_slope: float,
    keep_membranes: bool,
) -> LifOutput:
    """Return spikes, membranes and the last state; arguments as in `mambrane.ops.lif.lif`."""
    outputs = _lif(
        current_BTS.contiguous(),
        decay.contiguous(),
        None if state_BS is None else state_BS.float().contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
        threshold,
        reset == "subtract",
        detach_reset,
        surrogate == "atan",
        surrogate_slope,
        keep_membranes or is_differentiated(current_BTS, decay, state_BS),
    )
    membrane_BTS = outputs.membrane_BTS.to(current_BTS.dtype) if keep_membranes else None
    return LifOutput(outputs.spikes_BTS, membrane_BTS, outputs.last_BS)


class _Inputs(NamedTuple):
    current_BTS: Tensor
    decay: Tensor
    state_BS: Tensor | None
    resets_BT: Tensor | None
    threshold: float
    subtracts: bool
    detaches_reset: bool
    is_atan: bool
    slope: float
    keeps_membranes: bool


class _Outputs(NamedTuple):
    spikes_BTS: Tensor
    membrane_BTS: Tensor
    """Before the reset, float32; T = 0 if not saved."""
    last_BS: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    batch, tokens, units = inputs.current_BTS.shape
    make = inputs.current_BTS.new_empty
    return _Outputs(
        torch.empty_like(inputs.current_BTS),
        make(batch, tokens if inputs.keeps_membranes else 0, units, dtype=torch.float32),
        make(batch, units, dtype=torch.float32),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    batch, tokens, units = inputs.current_BTS.shape
    _KERNELS.start(
        "forward",
        (count_blocks(units, BLOCK_UNITS), batch),
        *(*inputs[:4], *outputs, tokens, inputs.threshold),
        **_constants(inputs, UNROLLED_TICKS),
        KEEPS_MEMBRANES=inputs.keeps_membranes,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    current, decay, state = saved.current_BTS, saved.decay, saved.state_BS
    batch, tokens, units = current.shape
    make, is_per_token = current.new_empty, decay.ndim == 3
    grad_current = torch.empty_like(current)
    grad_decay = torch.empty_like(decay) if is_per_token else make(batch, units, dtype=torch.float32)
    grad_first_BS = make(0, dtype=torch.float32) if state is None else torch.empty_like(state)
    _KERNELS.start(
        "backward",
        (count_blocks(units, BLOCK_UNITS), batch),
        *(saved.membrane_BTS, decay, state, saved.resets_BT, *grads, grad_current, grad_decay, grad_first_BS),
        *(tokens, saved.threshold, saved.slope),
        **_constants(saved, UNROLLED_TICKS_BACK),
        DETACHES=saved.detaches_reset,
        IS_ATAN=saved.is_atan,
        HAS_GRAD_SPIKES=grads.spikes_BTS is not None,
        HAS_GRAD_MEMBRANE=grads.membrane_BTS is not None,
        HAS_GRAD_LAST=grads.last_BS is not None,
    )
    if not is_per_token:
        grad_decay = grad_decay.sum(dim=0).to(decay.dtype)
    return grad_current, grad_decay, grad_first_BS


def _constants(inputs: Any, largest: int) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what both kernels are compiled for, with so many ticks together at most."""
    ticks = inputs.current_BTS.shape[1]
    unrolled = min(largest, power_of_two(ticks))
    return {
        "S": inputs.current_BTS.shape[2],
        "BLOCK": BLOCK_UNITS,
        "UNROLL": unrolled,
        "IS_WHOLE": ticks % unrolled == 0,
        "IS_PER_TOKEN": inputs.decay.ndim == 3,
        "HAS_STATE": inputs.state_BS is not None,
        "HAS_RESETS": inputs.resets_BT is not None,
        "SUBTRACTS": inputs.subtracts,
        "num_warps": 1,
        "enable_fp_fusion": False,
    }


_lif = gpu_operator(
    "lif",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields[:9], "membrane_BTS"),
    gradients={name: name for name in ("current_BTS", "decay", "state_BS")},
)
