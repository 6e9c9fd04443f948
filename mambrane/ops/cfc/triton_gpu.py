"""CfC cell on a GPU: the recurrence in one kernel of Triton for all tokens, the products around it in PyTorch.

The formula is in `reference.py`. What the backbone hears of the input is one product for all tokens; `forward` then
goes from token to token, a program for each sequence, and keeps the backbone's output a and four parts of the heads.
`backward` goes back with d heard, the gradient of the backbone's sum, and d parts, those of the heads' sums:

    dF = tanh'(...) (1 - s) dh, ...        d heard = SLOPE (GAIN - a^2 / GAIN) (heads^T d parts)
    dh[t-1] = W_h^T d heard

All gradients of weights are products of these with what was read, for all tokens at once. The loop takes two to three
microseconds a token, the time in which a multiprocessor reads the weights from the second cache (an estimate); it does
not depend on the number of sequences as long as each has a multiprocessor.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.triton.launch import Kernels, power_of_two
from mambrane.kernels.triton.operators import TYPES, gpu_operator
from mambrane.ops.cfc.reference import CfcOutput, CfcWeights

__all__ = ["TYPES", "cfc_triton"]

LARGEST_BLOCK = 64
"""Units that are taken at a time: a tile of 64 x 64 weights fills 32 registers of 128 threads."""

_KERNELS = Kernels("mambrane.ops.cfc.triton_kernels")


def cfc_triton(
    x_BTI: Tensor,
    weights: CfcWeights,
    *,
    state_BL: Tensor | None,
    resets_BT: Tensor | None,
    elapsed_BT: Tensor | None,
) -> CfcOutput:
    """Return the states of a CfC cell; arguments as in `mambrane.ops.cfc.cfc`."""
    w, inputs = CfcWeights(*(weight.float() for weight in weights)), x_BTI.shape[2]
    input_UI, recurrent_UL = w.backbone_weight[:, :inputs], w.backbone_weight[:, inputs:]
    outputs = _cell(
        x_BTI.float() @ input_UI.T + w.backbone_bias,
        recurrent_UL.contiguous(),
        torch.stack([w.ff1_weight, w.ff2_weight, w.time_a_weight, w.time_b_weight]),
        torch.stack([w.ff1_bias, w.ff2_bias, w.time_a_bias, w.time_b_bias]),
        None if state_BL is None else state_BL.float().contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
        None if elapsed_BT is None else elapsed_BT.float().contiguous(),
    )
    return CfcOutput(outputs.hidden_BTL.to(x_BTI.dtype), outputs.last_BL)


class _Inputs(NamedTuple):
    heard_BTU: Tensor
    recurrent_UL: Tensor
    heads_4LU: Tensor
    biases_4L: Tensor
    state_BL: Tensor | None
    resets_BT: Tensor | None
    elapsed_BT: Tensor | None


class _Outputs(NamedTuple):
    hidden_BTL: Tensor
    last_BL: Tensor
    found_BTL: Tensor
    """The state that each token finds, after a reset."""
    backbone_BTU: Tensor
    parts_BT4L: Tensor
    """ff1, ff2, the gate s and the rate that multiplies the elapsed time."""


def _make_outputs(inputs: _Inputs) -> _Outputs:
    (batch, tokens, _), units = inputs.heard_BTU.shape, inputs.recurrent_UL.shape[1]
    make = inputs.heard_BTU.new_empty
    return _Outputs(
        make(batch, tokens, units),
        make(batch, units),
        make(batch, tokens, units),
        torch.empty_like(inputs.heard_BTU),
        make(batch, tokens, 4, units),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    heard, recurrent, heads, biases, state, resets, elapsed = inputs
    batch, tokens, _ = heard.shape
    _KERNELS.start(
        "forward",
        (batch,),
        *(heard, recurrent, heads, biases, state, resets, elapsed, outputs.found_BTL),
        *(outputs.hidden_BTL, outputs.last_BL, outputs.backbone_BTU, outputs.parts_BT4L, tokens),
        **_constants(inputs),
        HAS_STATE=state is not None,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    recurrent_UL, state_BL, elapsed_BT = saved.recurrent_UL, saved.state_BL, saved.elapsed_BT
    found_BTL, backbone_BTU = saved.found_BTL, saved.backbone_BTU
    batch, tokens, units = found_BTL.shape
    make = found_BTL.new_empty
    grad_heard_BTU, grad_first_BL = torch.empty_like(backbone_BTU), make(batch, units)
    grad_parts_BT4L = make(batch, tokens, 4, units)
    grad_elapsed_BTL = None if elapsed_BT is None else make(batch, tokens, units)
    _KERNELS.start(
        "backward",
        (batch,),
        *(recurrent_UL, saved.heads_4LU, saved.resets_BT, elapsed_BT, backbone_BTU, saved.parts_BT4L),
        *(grads.hidden_BTL, grads.last_BL, grad_first_BL, grad_heard_BTU, grad_parts_BT4L, grad_elapsed_BTL, tokens),
        **_constants(saved),
        HAS_GRAD_HIDDEN=grads.hidden_BTL is not None,
        HAS_GRAD_LAST=grads.last_BL is not None,
    )
    rows_RM, rows_RU = grad_parts_BT4L.flatten(2).flatten(0, 1), grad_heard_BTU.flatten(0, 1)
    grad_heads_4LU = (rows_RM.T @ backbone_BTU.flatten(0, 1)).view_as(saved.heads_4LU)
    grad_biases_4L, grad_recurrent_UL = rows_RM.sum(dim=0).view(4, units), rows_RU.T @ found_BTL.flatten(0, 1)
    if grad_elapsed_BTL is None:
        grad_elapsed = make(0)
    else:
        grad_elapsed = grad_elapsed_BTL if elapsed_BT.ndim == 3 else grad_elapsed_BTL.sum(dim=2)
    first = make(0) if state_BL is None else grad_first_BL
    return grad_heard_BTU, grad_recurrent_UL, grad_heads_4LU, grad_biases_4L, first, grad_elapsed


def _constants(inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what both kernels are compiled for."""
    (backbone_units, units), elapsed = inputs.recurrent_UL.shape, inputs.elapsed_BT
    return {
        "U": backbone_units,
        "L": units,
        "BLOCK": min(LARGEST_BLOCK, power_of_two(max(backbone_units, units))),
        "HAS_RESETS": inputs.resets_BT is not None,
        "HAS_ELAPSED": elapsed is not None,
        "IS_PER_UNIT": elapsed is not None and elapsed.ndim == 3,
        "num_warps": 4,
    }


_cell = gpu_operator(
    "cfc",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields[1:], "found_BTL", "backbone_BTU", "parts_BT4L"),
    gradients={
        "heard_BTU": "backbone_BTU",
        **{name: name for name in ("recurrent_UL", "heads_4LU", "biases_4L", "state_BL", "elapsed_BT")},
    },
    internal=("found_BTL", "backbone_BTU", "parts_BT4L"),
)
