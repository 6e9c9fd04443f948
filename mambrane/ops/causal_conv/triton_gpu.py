"""Causal depthwise convolution with SiLU on a GPU, in Triton: one kernel forward, two backward.

The formulas are in `reference.py` and `numba_cpu.py`. Nothing but the input is saved: `filter_gradients` computes u
again, writes its gradient, in the type of x, and each tile's share of those of weight and bias, which are added up in
one order; `input_gradients` is the same convolution turned round.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels
from mambrane.kernels.triton.operators import TYPES, gpu_operator
from mambrane.ops.causal_conv.reference import Activation

__all__ = ["TYPES", "causal_conv_triton"]

BLOCK_TOKENS, BLOCK_CHANNELS, NUM_WARPS = 16, 64, 4

_KERNELS = Kernels("mambrane.ops.causal_conv.triton_kernels")


def causal_conv_triton(
    x_BTE: Tensor,
    weight_EK: Tensor,
    bias_E: Tensor,
    *,
    state_BEK: Tensor | None,
    resets_BT: Tensor | None,
    activation: Activation,
) -> tuple[Tensor, Tensor]:
    """Return y and the last K-1 inputs; arguments as in `mambrane.ops.causal_conv.causal_conv`."""
    outputs = _conv(
        *(each.contiguous() for each in (x_BTE, weight_EK, bias_E)),
        None if state_BEK is None else state_BEK.float().contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
        activation == "silu",
    )
    return outputs.y_BTE, outputs.last_BEK


class _Inputs(NamedTuple):
    x_BTE: Tensor
    weight_EK: Tensor
    bias_E: Tensor
    state_BEK: Tensor | None
    resets_BT: Tensor | None
    applies_silu: bool


class _Outputs(NamedTuple):
    y_BTE: Tensor
    last_BEK: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    (batch, _, channels), taps = inputs.x_BTE.shape, inputs.weight_EK.shape[1]
    last_BEK = inputs.x_BTE.new_empty(batch, channels, taps - 1, dtype=torch.float32)
    return _Outputs(torch.empty_like(inputs.x_BTE), last_BEK)


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    batch, tokens, channels = inputs.x_BTE.shape
    _KERNELS.start(
        "forward",
        (count_blocks(channels, BLOCK_CHANNELS), count_blocks(tokens, BLOCK_TOKENS), batch),
        *(*inputs[:5], *outputs, tokens),
        **_constants(inputs),
        APPLIES_SILU=inputs.applies_silu,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x, weight, bias, state = saved[:4]
    (batch, tokens, channels), taps = x.shape, weight.shape[1]
    num_blocks = count_blocks(tokens, BLOCK_TOKENS)
    make, whole = x.new_empty, torch.float32
    if grads.y_BTE is None:
        grad_u, grad_weight, grad_bias = None, torch.zeros_like(weight), torch.zeros_like(bias)
    else:
        grad_u = make(batch, tokens, channels)
        partial_weight = make(batch, num_blocks, channels, taps, dtype=whole)
        partial_bias = make(batch, num_blocks, channels, dtype=whole)
        _KERNELS.start(
            "filter_gradients",
            (count_blocks(channels, BLOCK_CHANNELS), num_blocks, batch),
            *(*saved[:5], grads.y_BTE, grad_u, partial_weight, partial_bias, tokens),
            **_constants(saved),
            APPLIES_SILU=saved.applies_silu,
        )
        grad_weight = partial_weight.sum(dim=(0, 1)).to(weight.dtype)
        grad_bias = partial_bias.sum(dim=(0, 1)).to(bias.dtype)
    grad_x = torch.empty_like(x)
    grad_first_BEK = make(0, dtype=whole) if state is None else torch.empty_like(state)
    num_rows = tokens if state is None else tokens + taps - 1
    _KERNELS.start(
        "input_gradients",
        (count_blocks(channels, BLOCK_CHANNELS), count_blocks(num_rows, BLOCK_TOKENS), batch),
        *(grad_u, weight, saved.resets_BT, grads.last_BEK, grad_x, grad_first_BEK, tokens),
        **_constants(saved),
        HAS_GRAD_Y=grad_u is not None,
        HAS_GRAD_LAST=grads.last_BEK is not None and taps > 1,
    )
    return grad_x, grad_weight, grad_bias, grad_first_BEK


def _constants(inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what all three kernels are compiled for."""
    taps = inputs.weight_EK.shape[1]
    return {
        "E": inputs.x_BTE.shape[2],
        "K": taps,
        "BLOCK_T": BLOCK_TOKENS,
        "BLOCK_E": BLOCK_CHANNELS,
        "HAS_STATE": inputs.state_BEK is not None and taps > 1,
        "HAS_RESETS": inputs.resets_BT is not None,
        "num_warps": NUM_WARPS,
    }


_conv = gpu_operator(
    "causal_conv",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=_Inputs._fields,
    gradients={name: name for name in ("x_BTE", "weight_EK", "bias_E", "state_BEK")},
)
