"""Causal exponential trace on a GPU, in Triton: one pass over time in each direction.

The formulas are in `reference.py` and `numba_cpu.py`. Sequences and units run side by side, as the neurons before them
do, whose resets keep the tokens of a sequence in their order anyway. A decay that is one number stays a number, so that
nothing is copied to the device; traces are kept in float32 only where a decay is learned.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.operator import is_differentiated
from mambrane.kernels.triton.launch import Kernels, power_of_two
from mambrane.kernels.triton.operators import TYPES, gpu_operator

__all__ = ["TYPES", "causal_trace_triton"]

BLOCK_UNITS = 32
UNROLLED_TOKENS = 32
"""Tokens whose rows are loaded together, at most: they wait for memory once."""

_KERNELS = Kernels("mambrane.ops.causal_trace.triton_kernels")


def causal_trace_triton(
    x_BTS: Tensor, decay: float | Tensor, *, state_BS: Tensor | None, resets_BT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the trace and its last value; arguments as in `mambrane.ops.causal_trace.causal_trace`."""
    decay_S, number = (decay.contiguous(), 0.0) if isinstance(decay, Tensor) else (None, decay)
    outputs = _trace(
        x_BTS.contiguous(),
        decay_S,
        None if state_BS is None else state_BS.float().contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
        number,
        is_differentiated(decay_S),
    )
    return outputs.trace_BTS, outputs.last_BS


class _Inputs(NamedTuple):
    x_BTS: Tensor
    decay_S: Tensor | None
    state_BS: Tensor | None
    resets_BT: Tensor | None
    number: float
    """The decay where it is not a tensor."""
    learns_decay: bool


class _Outputs(NamedTuple):
    trace_BTS: Tensor
    whole_BTS: Tensor
    """The trace in float32; T = 0 where no gradient of the decay asks for it."""
    last_BS: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    batch, tokens, units = inputs.x_BTS.shape
    make = inputs.x_BTS.new_empty
    return _Outputs(
        torch.empty_like(inputs.x_BTS),
        make(batch, tokens if inputs.learns_decay else 0, units, dtype=torch.float32),
        make(batch, units, dtype=torch.float32),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    batch, tokens, units = inputs.x_BTS.shape
    _KERNELS.start(
        "forward",
        (count_blocks(units, BLOCK_UNITS), batch),
        *(*inputs[:4], *outputs, tokens, inputs.number),
        **_constants(inputs),
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x_BTS, decay_S, state_BS = saved.x_BTS, saved.decay_S, saved.state_BS
    batch, tokens, units = x_BTS.shape
    make = x_BTS.new_empty
    grad_x_BTS = torch.empty_like(x_BTS)
    partial_decay_BS = make(batch, units, dtype=torch.float32) if saved.learns_decay else None
    grad_first_BS = make(0, dtype=torch.float32) if state_BS is None else torch.empty_like(state_BS)
    _KERNELS.start(
        "backward",
        (count_blocks(units, BLOCK_UNITS), batch),
        *(x_BTS, decay_S, state_BS, saved.resets_BT, saved.whole_BTS, grads.trace_BTS, grads.last_BS),
        *(grad_x_BTS, partial_decay_BS, grad_first_BS, tokens, saved.number),
        **_constants(saved),
        HAS_GRAD_TRACE=grads.trace_BTS is not None,
        HAS_GRAD_LAST=grads.last_BS is not None,
    )
    if partial_decay_BS is not None:
        grad_decay_S = partial_decay_BS.sum(dim=0).to(decay_S.dtype)
    else:
        grad_decay_S = make(0) if decay_S is None else torch.empty_like(decay_S)
    return grad_x_BTS, grad_decay_S, grad_first_BS


def _constants(inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what both kernels are compiled for."""
    tokens = inputs.x_BTS.shape[1]
    unrolled = min(UNROLLED_TOKENS, power_of_two(tokens))
    return {
        "S": inputs.x_BTS.shape[2],
        "BLOCK": BLOCK_UNITS,
        "UNROLL": unrolled,
        "IS_WHOLE": tokens % unrolled == 0,
        "IS_NUMBER": inputs.decay_S is None,
        "HAS_STATE": inputs.state_BS is not None,
        "HAS_RESETS": inputs.resets_BT is not None,
        "KEEPS_WHOLE": inputs.learns_decay,
        "num_warps": 1,
        "enable_fp_fusion": False,
    }


_trace = gpu_operator(
    "causal_trace",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields, "whole_BTS"),
    gradients={name: name for name in ("x_BTS", "decay_S", "state_BS")},
    internal=("whole_BTS",),
)
