# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of a kernel's arguments
"""CfC on the CPU: one kernel forward, one backward, then the sums over tokens that are the gradients of the weights.

The formula is in `reference.py`. The heads ff1, ff2, time_a, time_b are stacked as one matrix; where no times are
given, elapsed is 1 and time_a + time_b a single head. Saved are the activations of the backbone and of the heads; the
backward kernel finds the gradients before each product.

A thread takes a share of the batch, whose rows read the weights together. Each number is a sum in one fixed order, so
it depends neither on the threads nor on how a sequence is split; a BLAS does not promise this.
Letters beyond core/shapes: I input width; J = I + L; U backbone units; G = 3 L or 4 L; M = 0 (no times), 1 or L; R some
rows; P, C as in `products.py`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.kernels.arguments import arrays, compute_dtype, no_resets, ordered_sum
from mambrane.kernels.blocks import add, clear, copy
from mambrane.kernels.compiled import kernel
from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.numba_math import sigmoid, tanh
from mambrane.kernels.operator import is_differentiated
from mambrane.kernels.products import add_product, panels, sum_over_tokens, whole_panels, zero_sums
from mambrane.kernels.threads import parallel_for
from mambrane.ops.cfc.reference import LECUN_GAIN, LECUN_SLOPE, CfcOutput, CfcWeights


def cfc_numba(
    x_BTI: Tensor, weights: CfcWeights, *, state_BL: Tensor | None, resets_BT: Tensor | None, elapsed_BT: Tensor | None
) -> CfcOutput:
    """Return the states of a CfC cell; arguments as in `mambrane.ops.cfc.cfc`."""
    dtype, (batch, tokens, _) = compute_dtype(x_BTI), x_BTI.shape
    w = CfcWeights(*(weight.to(dtype) for weight in weights))
    if state_BL is None:
        state_BL = x_BTI.new_zeros(batch, w.ff1_bias.shape[0])
    if elapsed_BT is None:
        # After a time of one, the two parts of the time gate are a single head.
        elapsed_BTM = x_BTI.new_empty(batch, tokens, 0)
        time_weights, time_biases = [w.time_a_weight + w.time_b_weight], [w.time_a_bias + w.time_b_bias]
    else:
        elapsed_BTM = elapsed_BT if elapsed_BT.ndim == 3 else elapsed_BT.unsqueeze(-1)
        time_weights, time_biases = [w.time_a_weight, w.time_b_weight], [w.time_a_bias, w.time_b_bias]
    floats = (
        x_BTI.to(dtype),
        state_BL.to(dtype),
        elapsed_BTM.to(dtype),
        w.backbone_weight,
        w.backbone_bias,
        torch.cat([w.ff1_weight, w.ff2_weight, *time_weights]),
        torch.cat([w.ff1_bias, w.ff2_bias, *time_biases]),
    )
    outputs = _cfc(
        *(each.contiguous() for each in floats),
        no_resets(x_BTI) if resets_BT is None else resets_BT.contiguous(),
        is_differentiated(*floats),
    )
    return CfcOutput(outputs.hidden_BTL.to(x_BTI.dtype), outputs.hidden_BTL[:, -1])


class _Inputs(NamedTuple):
    x_BTI: Tensor
    state_BL: Tensor
    elapsed_BTM: Tensor
    backbone_UJ: Tensor
    bias_U: Tensor
    heads_GU: Tensor
    bias_G: Tensor
    resets_BT: Tensor
    saves_activations: bool


class _Outputs(NamedTuple):
    hidden_BTL: Tensor
    backbone_BTU: Tensor
    """Activations of the backbone, filled up to whole panels; T = 0 if not saved, and so below."""
    heads_BTG: Tensor
    """tanh ff1, tanh ff2, time_a (where times are given) and s."""


def _make_outputs(inputs: _Inputs) -> _Outputs:
    x_BTI, (batch, tokens, _) = inputs.x_BTI, inputs.x_BTI.shape
    num_saved = tokens if inputs.saves_activations else 0
    return _Outputs(
        x_BTI.new_empty(batch, tokens, inputs.state_BL.shape[1]),
        x_BTI.new_empty(batch, num_saved, whole_panels(inputs.bias_U.shape[0])),
        x_BTI.new_empty(batch, num_saved, inputs.bias_G.shape[0]),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    num_shares = min(len(inputs.x_BTI), torch.get_num_threads())
    parallel_for(
        _forward,
        num_shares,
        num_shares,
        *arrays(*inputs[:3], panels(inputs.backbone_UJ.T), inputs.bias_U),
        *arrays(panels(inputs.heads_GU.T), *inputs[6:], *outputs),
        work_ns=_work_ns(inputs),
    )


def _work_ns(inputs: Any) -> float:  # noqa: ANN401 -- inputs, or what was saved
    return 0.01 * inputs.resets_BT.numel() * (inputs.backbone_UJ.numel() + inputs.heads_GU.numel())


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    (units, num_input), num_heads = saved.backbone_UJ.shape, saved.bias_G.shape[0]
    x_BTI, (batch, tokens) = saved.x_BTI, saved.resets_BT.shape
    grad_x_BTI, grad_state_BL = torch.empty_like(x_BTI), torch.empty_like(saved.state_BL)
    grad_drive_BTU, grad_heads_BTG = x_BTI.new_empty(batch, tokens, units), torch.empty_like(saved.heads_BTG)
    grad_bias_BU, grad_bias_BG = x_BTI.new_zeros(batch, units), x_BTI.new_zeros(batch, num_heads)
    num_shares = min(batch, torch.get_num_threads())
    parallel_for(
        _backward,
        num_shares,
        num_shares,
        *arrays(grads.hidden_BTL, saved.resets_BT, saved.elapsed_BTM),
        panels(saved.backbone_UJ),
        panels(saved.heads_GU),
        *arrays(saved.backbone_BTU, saved.heads_BTG),
        *arrays(grad_x_BTI, grad_state_BL, grad_drive_BTU, grad_heads_BTG, grad_bias_BU, grad_bias_BG),
        work_ns=_work_ns(saved),
    )
    return (
        grad_x_BTI,
        grad_state_BL,
        _grad_elapsed(saved, grad_heads_BTG),
        sum_over_tokens(grad_drive_BTU.flatten(0, 1), _backbone_input(saved).flatten(0, 1), num_input),
        ordered_sum(grad_bias_BU),
        sum_over_tokens(grad_heads_BTG.flatten(0, 1), saved.backbone_BTU.flatten(0, 1), units),
        ordered_sum(grad_bias_BG),
    )


def _backbone_input(saved: Any) -> Tensor:  # noqa: ANN401 -- what `saves` names
    """Return x[t] and h[t-1], filled up to whole panels; [B, T, J]."""
    before_BTL = torch.cat([saved.state_BL[:, None], saved.hidden_BTL[:, :-1]], dim=1)
    before_BTL = before_BTL.masked_fill(saved.resets_BT[:, :, None], 0.0)
    num_input = saved.backbone_UJ.shape[1]
    return F.pad(torch.cat([saved.x_BTI, before_BTL], dim=-1), (0, int(whole_panels(num_input)) - num_input))


def _grad_elapsed(saved: Any, grad_heads_BTG: Tensor) -> Tensor:  # noqa: ANN401 -- what `saves` names
    """Return the gradient of the elapsed times: time_b is added to elapsed time_a, so its gradient is the product's."""
    num_times = saved.elapsed_BTM.shape[2]
    if num_times == 0:
        return torch.zeros_like(saved.elapsed_BTM)
    grad_elapsed_BTL = saved.heads_BTG.chunk(4, dim=-1)[2] * grad_heads_BTG.chunk(4, dim=-1)[3]
    return grad_elapsed_BTL.sum(dim=-1, keepdim=True) if num_times == 1 else grad_elapsed_BTL


_cfc = differentiable(
    "cfc",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields[:8], *_Outputs._fields),
    gradients={name: name for name in _Inputs._fields[:7]},
    internal=("backbone_BTU", "heads_BTG"),
)


@kernel(makes_arrays=True)
def _forward(first_share, last_share, num_shares, *arguments):
    """Run these shares of the batch; the matrices of backbone and heads come in panels, transposed."""
    inputs, outputs = _Inputs(*arguments[:9]), _Outputs(*arguments[9:])
    rows = slice(first_share * len(inputs.x_BTI) // num_shares, last_share * len(inputs.x_BTI) // num_shares)
    x_RTI, resets_RT, elapsed_RTM = inputs.x_BTI[rows], inputs.resets_BT[rows], inputs.elapsed_BTM[rows]
    hidden_RTL, backbone_RTU = outputs.hidden_BTL[rows], outputs.backbone_BTU[rows]
    heads_RTG, state_RL = outputs.heads_BTG[rows], inputs.state_BL[rows]
    backbone_PJC, heads_PUC, bias_U, bias_G = inputs.backbone_UJ, inputs.heads_GU, inputs.bias_U, inputs.bias_G
    num_rows, num_tokens, num_inputs = x_RTI.shape
    num_before = num_inputs + state_RL.shape[1]
    gain, slope = x_RTI.dtype.type(LECUN_GAIN), x_RTI.dtype.type(LECUN_SLOPE)
    a_RU, heads_RG = zero_sums(num_rows, backbone_PJC), zero_sums(num_rows, heads_PUC)
    input_RJ = np.zeros((len(a_RU), num_before), x_RTI.dtype)
    h_RL = input_RJ[:, num_inputs:]
    for r in range(num_rows):
        copy(state_RL[r], h_RL[r])
    for t in range(num_tokens):
        for r in range(num_rows):
            copy(x_RTI[r, t], input_RJ[r, :num_inputs])
            if resets_RT[r, t]:
                clear(h_RL[r])
            copy(bias_U, a_RU[r, : bias_U.size])
            copy(bias_G, heads_RG[r, : bias_G.size])
        add_product(input_RJ, backbone_PJC, a_RU)
        for r in range(num_rows):
            for u in range(a_RU.shape[1]):
                a_RU[r, u] = gain * tanh(slope * a_RU[r, u])
        add_product(a_RU, heads_PUC, heads_RG)
        for r in range(num_rows):
            _apply_heads(heads_RG[r, : bias_G.size], elapsed_RTM[r, t], h_RL[r])
            copy(h_RL[r], hidden_RTL[r, t])
            if inputs.saves_activations:
                copy(a_RU[r], backbone_RTU[r, t])
                copy(heads_RG[r, : bias_G.size], heads_RTG[r, t])


@kernel()
def _apply_heads(heads_G, elapsed_M, h_L):
    """Turn what the heads gave into tanh ff1, tanh ff2, time_a and s, in place, and write the new state."""
    num_units = h_L.size
    ff1_L, ff2_L, s_L = heads_G[:num_units], heads_G[num_units : 2 * num_units], heads_G[heads_G.size - num_units :]
    for i in range(2 * num_units):
        heads_G[i] = tanh(heads_G[i])
    if elapsed_M.size > 0:
        _add_times(heads_G[2 * num_units : 3 * num_units], elapsed_M, s_L)
    for i in range(num_units):
        s_L[i] = sigmoid(s_L[i])
        h_L[i] = ff1_L[i] + s_L[i] * (ff2_L[i] - ff1_L[i])


@kernel()
def _add_times(x_L, elapsed_M, sum_L):
    """Add x times the elapsed time, one for all units or one for each, to the sum."""
    if elapsed_M.size == 1:
        for i in range(x_L.size):
            sum_L[i] += x_L[i] * elapsed_M[0]
    else:
        for i in range(x_L.size):
            sum_L[i] += x_L[i] * elapsed_M[i]


@kernel(makes_arrays=True)
def _backward(first_share, last_share, num_shares, *arguments):
    """Go back through these shares of the batch; the last six arguments are written."""
    grad_hidden_BTL, resets_BT, elapsed_BTM, backbone_PUC, heads_PGC, backbone_BTU, heads_BTG = arguments[:7]
    grad_x_BTI, grad_state_BL, grad_drive_BTU, grad_heads_BTG, grad_bias_BU, grad_bias_BG = arguments[7:]
    rows = slice(first_share * len(resets_BT) // num_shares, last_share * len(resets_BT) // num_shares)
    grad_hidden_RTL, resets_RT, elapsed_RTM = grad_hidden_BTL[rows], resets_BT[rows], elapsed_BTM[rows]
    backbone_RTU, heads_RTG, grad_x_RTI = backbone_BTU[rows], heads_BTG[rows], grad_x_BTI[rows]
    grad_drive_RTU, grad_heads_RTG = grad_drive_BTU[rows], grad_heads_BTG[rows]
    grad_bias_RU, grad_bias_RG = grad_bias_BU[rows], grad_bias_BG[rows]
    num_rows, num_tokens, num_units = grad_hidden_RTL.shape
    num_inputs, num_backbone, num_heads = grad_x_RTI.shape[2], grad_bias_RU.shape[1], grad_bias_RG.shape[1]
    dtype = grad_hidden_RTL.dtype.type
    one, inverse_gain, steepness = dtype(1), dtype(1 / LECUN_GAIN), dtype(LECUN_GAIN * LECUN_SLOPE)
    grad_input_RJ, grad_a_RU = zero_sums(num_rows, backbone_PUC), zero_sums(num_rows, heads_PGC)
    grad_heads_RG = np.zeros((len(grad_a_RU), num_heads), grad_a_RU.dtype)
    grad_h_RL = grad_input_RJ[:, num_inputs : num_inputs + num_units]
    for t in range(num_tokens - 1, -1, -1):
        for r in range(num_rows):
            add(grad_hidden_RTL[r, t], grad_h_RL[r])
            _differentiate_heads(grad_h_RL[r], heads_RTG[r, t], elapsed_RTM[r, t], grad_heads_RG[r])
            copy(grad_heads_RG[r], grad_heads_RTG[r, t])
            add(grad_heads_RG[r], grad_bias_RG[r])
            clear(grad_a_RU[r])
        add_product(grad_heads_RG, heads_PGC, grad_a_RU)
        for r in range(num_rows):
            for u in range(num_backbone):
                height = backbone_RTU[r, t, u] * inverse_gain
                grad_a_RU[r, u] *= steepness * (one - height * height)
            copy(grad_a_RU[r, :num_backbone], grad_drive_RTU[r, t])
            add(grad_a_RU[r, :num_backbone], grad_bias_RU[r])
            clear(grad_input_RJ[r])
        add_product(grad_a_RU, backbone_PUC, grad_input_RJ)
        for r in range(num_rows):
            copy(grad_input_RJ[r, :num_inputs], grad_x_RTI[r, t])
            if resets_RT[r, t]:
                clear(grad_h_RL[r])
    for r in range(num_rows):
        copy(grad_h_RL[r], grad_state_BL[rows][r])


@kernel()
def _differentiate_heads(grad_h_L, heads_G, elapsed_M, grad_heads_G):
    """Write the gradients of the heads, before tanh and sigmoid."""
    num_units = grad_h_L.size
    last = heads_G.size - num_units
    one = grad_h_L.dtype.type(1)
    for i in range(num_units):
        ff1, ff2, s = heads_G[i], heads_G[num_units + i], heads_G[last + i]
        grad_heads_G[i] = grad_h_L[i] * (one - s) * (one - ff1 * ff1)
        grad_heads_G[num_units + i] = grad_h_L[i] * s * (one - ff2 * ff2)
        grad_heads_G[last + i] = grad_h_L[i] * (ff2 - ff1) * s * (one - s)
    if elapsed_M.size > 0:
        grad_time_a_L = grad_heads_G[2 * num_units : 3 * num_units]
        clear(grad_time_a_L)
        _add_times(grad_heads_G[last:], elapsed_M, grad_time_a_L)
