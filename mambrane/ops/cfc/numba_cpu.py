# ruff: noqa: ANN001, ANN202 -- Numba finds the types of a kernel's arguments
"""CfC on the CPU: one kernel forward, one backward, and one for the products outside of the recurrence.

The formula stands in `reference.py`. The input half of the backbone, W_x x + b, needs no state: it is one product over
all tokens, done before the recurrence. The four heads ff1, ff2, time_a, time_b are stacked as one matrix [4 L, U]. The
forward pass keeps the backbone activations and what the heads gave; the backward kernel finds the gradients before each
product, and those of the weights are products over all tokens again.

In the recurrence a thread takes a share of the batch, whose rows read the weights together. Each number is a sum in one
fixed order, so it depends neither on the threads nor on how a sequence is split; a BLAS does not promise this.
Letters beyond core/shapes: I input width; J = I + L; U backbone units; G = 4 L; M = 1 or L; Q = B T; R some rows.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambrane.ops.arguments import (
    arrays,
    inner_type,
    no_resets,
    ordered_sum,
    require_elapsed,
    require_shape,
    require_tokens,
)
from mambrane.ops.blocks import copy
from mambrane.ops.cfc.reference import LECUN_GAIN, LECUN_SLOPE, CfcOutput, CfcWeights
from mambrane.ops.compiled import kernel
from mambrane.ops.numba_math import sigmoid, tanh
from mambrane.ops.threads import share_out

BLOCK_ROWS = 32


def cfc_numba(
    x_BTI: Tensor, weights: CfcWeights, *, state_BL: Tensor | None, resets_BT: Tensor | None, elapsed_BT: Tensor | None
) -> CfcOutput:
    """Return the states of a CfC cell; arguments as in `mambrane.ops.cfc.cfc`."""
    _check(x_BTI, weights, state_BL, resets_BT, elapsed_BT)
    dtype = inner_type(x_BTI)
    batch_size, num_tokens, _ = x_BTI.shape
    w = CfcWeights(*(weight.to(dtype) for weight in weights))
    if state_BL is None:
        state_BL = x_BTI.new_zeros(batch_size, w.ff1_bias.shape[0])
    if elapsed_BT is None:
        elapsed_BT = x_BTI.new_ones(batch_size, num_tokens)
    floats = (
        x_BTI.to(dtype),
        state_BL.to(dtype),
        elapsed_BT.to(dtype).reshape(batch_size, num_tokens, -1),
        w.backbone_weight,
        w.backbone_bias,
        torch.cat([w.ff1_weight, w.ff2_weight, w.time_a_weight, w.time_b_weight]),
        torch.cat([w.ff1_bias, w.ff2_bias, w.time_a_bias, w.time_b_bias]),
    )
    hidden_BTL, _, _ = _cfc(
        *floats,
        no_resets(x_BTI) if resets_BT is None else resets_BT,
        torch.is_grad_enabled() and any(each.requires_grad for each in floats),
    )
    return CfcOutput(hidden_BTL.to(x_BTI.dtype), hidden_BTL[:, -1])


def _check(x_BTI: Tensor, weights: CfcWeights, state_BL: Any, resets_BT: Any, elapsed_BT: Any) -> None:  # noqa: ANN401
    require_tokens("x_BTI", x_BTI)
    (batch_size, num_tokens, inputs), (units, backbone_units) = x_BTI.shape, weights.ff1_weight.shape
    require_shape("backbone_weight", weights.backbone_weight, (backbone_units, inputs + units))
    require_shape("backbone_bias", weights.backbone_bias, (backbone_units,))
    for name in CfcWeights._fields[2:]:
        wanted = (units, backbone_units) if name.endswith("weight") else (units,)
        require_shape(name, getattr(weights, name), wanted)
    require_shape("state_BL", state_BL, (batch_size, units))
    require_shape("resets_BT", resets_BT, (batch_size, num_tokens))
    require_elapsed(elapsed_BT, (batch_size, num_tokens, units))


@torch.library.custom_op("mambrane::cfc", mutates_args=())
def _cfc(
    x_BTI: Tensor,
    state_BL: Tensor,
    elapsed_BTM: Tensor,
    backbone_UJ: Tensor,
    bias_U: Tensor,
    heads_GU: Tensor,
    bias_G: Tensor,
    resets_BT: Tensor,
    is_kept: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return states [B, T, L], backbone [B, T, U] and tanh ff1, tanh ff2, time_a, s [B, T, 4 L], T = 0 if not kept."""
    outputs = _cfc_outputs(x_BTI, state_BL, elapsed_BTM, backbone_UJ, bias_U, heads_GU, bias_G, resets_BT, is_kept)
    batch_size, num_tokens, inputs = x_BTI.shape
    drive_BTU = bias_U.detach().repeat(batch_size, num_tokens, 1)
    _add_outside(x_BTI.flatten(0, 1), backbone_UJ[:, :inputs].T, drive_BTU.flatten(0, 1))
    num_shares = min(batch_size, torch.get_num_threads())
    share_out(
        _forward,
        num_shares,
        num_shares,
        *arrays(drive_BTU, state_BL, resets_BT, elapsed_BTM, backbone_UJ[:, inputs:].T, heads_GU.T, bias_G, *outputs),
        work_ns=0.1 * drive_BTU.numel() * bias_G.numel(),
    )
    return outputs


@_cfc.register_fake
def _cfc_outputs(
    x_BTI: Tensor,
    state_BL: Tensor,
    elapsed_BTM: Tensor,
    backbone_UJ: Tensor,
    bias_U: Tensor,
    heads_GU: Tensor,
    bias_G: Tensor,
    resets_BT: Tensor,
    is_kept: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch_size, num_tokens, _ = x_BTI.shape
    num_kept = num_tokens if is_kept else 0
    return (
        x_BTI.new_empty(batch_size, num_tokens, state_BL.shape[1]),
        x_BTI.new_empty(batch_size, num_kept, bias_U.shape[0]),
        x_BTI.new_empty(batch_size, num_kept, bias_G.shape[0]),
    )


@torch.library.custom_op("mambrane::cfc_backward", mutates_args=())
def _cfc_backward(
    grad_hidden_BTL: Tensor,
    x_BTI: Tensor,
    state_BL: Tensor,
    elapsed_BTM: Tensor,
    backbone_UJ: Tensor,
    heads_GU: Tensor,
    resets_BT: Tensor,
    hidden_BTL: Tensor,
    backbone_BTU: Tensor,
    heads_BTG: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the first seven arguments of the forward operation."""
    inputs = x_BTI.shape[2]
    grad_drive_BTU, grad_heads_BTG = torch.empty_like(backbone_BTU), torch.empty_like(heads_BTG)
    grad_state_BL = grad_hidden_BTL.new_zeros(state_BL.shape)
    num_shares = min(resets_BT.shape[0], torch.get_num_threads())
    share_out(
        _backward,
        num_shares,
        num_shares,
        *arrays(grad_hidden_BTL, resets_BT, elapsed_BTM, backbone_UJ[:, inputs:], heads_GU, backbone_BTU, heads_BTG),
        *arrays(grad_drive_BTU, grad_state_BL, grad_heads_BTG),
        work_ns=0.1 * heads_BTG.numel() * backbone_BTU.shape[2],
    )
    previous_BTL = torch.cat([state_BL[:, None], hidden_BTL[:, :-1]], dim=1).masked_fill(resets_BT[..., None], 0.0)
    heard_QJ = torch.cat([x_BTI, previous_BTL], dim=-1).flatten(0, 1)
    grad_drive_QU, grad_heads_QG = grad_drive_BTU.flatten(0, 1), grad_heads_BTG.flatten(0, 1)
    # time_b is added to elapsed time_a, so its gradient is that of the product.
    grad_elapsed_BTL = heads_BTG.chunk(4, dim=-1)[2] * grad_heads_BTG.chunk(4, dim=-1)[3]
    return (
        _add_outside(grad_drive_QU, backbone_UJ[:, :inputs], x_BTI.new_zeros(x_BTI.shape).flatten(0, 1)).view_as(x_BTI),
        grad_state_BL,
        grad_elapsed_BTL.sum(dim=-1, keepdim=True) if elapsed_BTM.shape[2] == 1 else grad_elapsed_BTL,
        _add_outside(grad_drive_QU.T, heard_QJ, backbone_UJ.new_zeros(backbone_UJ.shape)),
        ordered_sum(grad_drive_QU),
        _add_outside(grad_heads_QG.T, backbone_BTU.flatten(0, 1), heads_GU.new_zeros(heads_GU.shape)),
        ordered_sum(grad_heads_QG),
    )


@_cfc_backward.register_fake
def _(grad_hidden_BTL, x_BTI, state_BL, elapsed_BTM, backbone_UJ, heads_GU, resets_BT, hidden_BTL, *kept):  # noqa: ANN002
    biases = (heads_GU.new_empty(heads_GU.shape[size]) for size in (1, 0))
    weights = (each.new_empty(each.shape) for each in (x_BTI, state_BL, elapsed_BTM, backbone_UJ, heads_GU))
    grad_x_BTI, grad_state_BL, grad_elapsed_BTM, grad_backbone_UJ, grad_heads_GU = weights
    grad_bias_U, grad_bias_G = biases
    return grad_x_BTI, grad_state_BL, grad_elapsed_BTM, grad_backbone_UJ, grad_bias_U, grad_heads_GU, grad_bias_G


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 -- torch's own
    x_BTI, state_BL, elapsed_BTM, backbone_UJ, _, heads_GU, _, resets_BT, _ = inputs
    ctx.save_for_backward(x_BTI, state_BL, elapsed_BTM, backbone_UJ, heads_GU, resets_BT, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch's own
    if grads[0] is None:
        return (None,) * 9
    return *_cfc_backward(grads[0], *ctx.saved_tensors), None, None


_cfc.register_autograd(_differentiate, setup_context=_save)


def _add_outside(left_RK: Tensor, right_KN: Tensor, sum_RN: Tensor) -> Tensor:
    """Add left @ right to the sum, which is contiguous, and return it; the left one is read as it lies."""
    share_out(
        _add_rows,
        left_RK.shape[0],
        left_RK.detach().numpy(),
        *arrays(right_KN, sum_RN),
        work_ns=0.1 * left_RK.numel() * right_KN.shape[1],
    )
    return sum_RN


@kernel()
def _add_rows(first, last, left_RK, right_KN, sum_RN):
    """Add the rows first, ..., last - 1 of left @ right, in blocks that stay in the cache."""
    for start in range(first, last, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, last)
        _add_product(left_RK[start:stop], right_KN, sum_RN[start:stop])


@kernel(makes_arrays=True)
def _forward(
    first_share,
    last_share,
    num_shares,
    drive_BTU,
    state_BL,
    resets_BT,
    elapsed_BTM,
    recurrent_LU,
    heads_UG,
    bias_G,
    hidden_BTL,
    backbone_BTU,
    heads_BTG,
):
    rows = slice(first_share * len(drive_BTU) // num_shares, last_share * len(drive_BTU) // num_shares)
    drive_RTU, state_RL, resets_RT, elapsed_RTM = drive_BTU[rows], state_BL[rows], resets_BT[rows], elapsed_BTM[rows]
    hidden_RTL, backbone_RTU, heads_RTG = hidden_BTL[rows], backbone_BTU[rows], heads_BTG[rows]
    num_rows, num_tokens, num_backbone = drive_RTU.shape
    kind = drive_RTU.dtype.type
    gain, slope = kind(LECUN_GAIN), kind(LECUN_SLOPE)
    h_RL = state_RL.copy()
    a_RU = np.empty((num_rows, num_backbone), drive_RTU.dtype)
    heads_RG = np.empty((num_rows, bias_G.size), drive_RTU.dtype)
    for t in range(num_tokens):
        for r in range(num_rows):
            if resets_RT[r, t]:
                _fill(h_RL[r], 0)
            copy(drive_RTU[r, t], a_RU[r])
            copy(bias_G, heads_RG[r])
        _add_product(h_RL, recurrent_LU, a_RU)
        for r in range(num_rows):
            for u in range(num_backbone):
                a_RU[r, u] = gain * tanh(slope * a_RU[r, u])
        _add_product(a_RU, heads_UG, heads_RG)
        for r in range(num_rows):
            _apply_heads(heads_RG[r], elapsed_RTM[r, t], h_RL[r])
            copy(h_RL[r], hidden_RTL[r, t])
            if heads_RTG.shape[1] > 0:
                copy(a_RU[r], backbone_RTU[r, t])
                copy(heads_RG[r], heads_RTG[r, t])


@kernel()
def _apply_heads(heads_G, elapsed_M, h_L):
    """Turn what the heads gave into tanh ff1, tanh ff2, time_a and s, in place, and write the new state."""
    num_units = h_L.size
    ff1_L, ff2_L = heads_G[:num_units], heads_G[num_units : 2 * num_units]
    time_a_L, s_L = heads_G[2 * num_units : 3 * num_units], heads_G[3 * num_units :]
    for i in range(2 * num_units):
        heads_G[i] = tanh(heads_G[i])
    if elapsed_M.size == 1:
        for i in range(num_units):
            s_L[i] = sigmoid(time_a_L[i] * elapsed_M[0] + s_L[i])
    else:
        for i in range(num_units):
            s_L[i] = sigmoid(time_a_L[i] * elapsed_M[i] + s_L[i])
    for i in range(num_units):
        h_L[i] = ff1_L[i] + s_L[i] * (ff2_L[i] - ff1_L[i])


@kernel(makes_arrays=True)
def _backward(
    first_share,
    last_share,
    num_shares,
    grad_hidden_BTL,
    resets_BT,
    elapsed_BTM,
    recurrent_UL,
    heads_GU,
    backbone_BTU,
    heads_BTG,
    grad_drive_BTU,
    grad_state_BL,
    grad_heads_BTG,
):
    rows = slice(first_share * len(resets_BT) // num_shares, last_share * len(resets_BT) // num_shares)
    grad_hidden_RTL, resets_RT, elapsed_RTM = grad_hidden_BTL[rows], resets_BT[rows], elapsed_BTM[rows]
    backbone_RTU, heads_RTG = backbone_BTU[rows], heads_BTG[rows]
    grad_drive_RTU, grad_h_RL, grad_heads_RTG = grad_drive_BTU[rows], grad_state_BL[rows], grad_heads_BTG[rows]
    num_rows, num_tokens, num_units = grad_hidden_RTL.shape
    num_backbone = backbone_RTU.shape[2]
    kind = grad_hidden_RTL.dtype.type
    one, inverse_gain, steepness = kind(1), kind(1 / LECUN_GAIN), kind(LECUN_GAIN * LECUN_SLOPE)
    grad_a_RU = np.empty((num_rows, num_backbone), grad_hidden_RTL.dtype)
    grad_heads_RG = np.empty((num_rows, 4 * num_units), grad_hidden_RTL.dtype)
    for t in range(num_tokens - 1, -1, -1):
        for r in range(num_rows):
            for i in range(num_units):
                grad_h_RL[r, i] += grad_hidden_RTL[r, t, i]
            _differentiate_heads(grad_h_RL[r], heads_RTG[r, t], elapsed_RTM[r, t], grad_heads_RG[r])
            copy(grad_heads_RG[r], grad_heads_RTG[r, t])
            _fill(grad_a_RU[r], 0)
        _add_product(grad_heads_RG, heads_GU, grad_a_RU)
        for r in range(num_rows):
            for u in range(num_backbone):
                height = backbone_RTU[r, t, u] * inverse_gain
                grad_a_RU[r, u] *= steepness * (one - height * height)
            copy(grad_a_RU[r], grad_drive_RTU[r, t])
            _fill(grad_h_RL[r], 0)
        _add_product(grad_a_RU, recurrent_UL, grad_h_RL)
        for r in range(num_rows):
            if resets_RT[r, t]:
                _fill(grad_h_RL[r], 0)


@kernel()
def _differentiate_heads(grad_h_L, heads_G, elapsed_M, grad_heads_G):
    """Write the gradients of the four heads, before tanh and sigmoid."""
    num_units = grad_h_L.size
    one = grad_h_L.dtype.type(1)
    for i in range(num_units):
        ff1, ff2, s = heads_G[i], heads_G[num_units + i], heads_G[3 * num_units + i]
        grad_heads_G[i] = grad_h_L[i] * (one - s) * (one - ff1 * ff1)
        grad_heads_G[num_units + i] = grad_h_L[i] * s * (one - ff2 * ff2)
        grad_heads_G[3 * num_units + i] = grad_h_L[i] * (ff2 - ff1) * s * (one - s)
    grad_time_a_L, grad_time_b_L = grad_heads_G[2 * num_units : 3 * num_units], grad_heads_G[3 * num_units :]
    if elapsed_M.size == 1:
        for i in range(num_units):
            grad_time_a_L[i] = grad_time_b_L[i] * elapsed_M[0]
    else:
        for i in range(num_units):
            grad_time_a_L[i] = grad_time_b_L[i] * elapsed_M[i]


@kernel()
def _fill(target_N, value):
    for n in range(target_N.size):
        target_N[n] = value


@kernel()
def _add_product(left_RK, right_KN, sum_RN):
    """Add left @ right to the sum. Eight terms at a time, so that the sum is read and written an eighth as often."""
    num_rows, num_terms = left_RK.shape
    whole = num_terms - num_terms % 8
    for k in range(0, whole, 8):
        for r in range(num_rows):
            l0, l1, l2, l3 = left_RK[r, k], left_RK[r, k + 1], left_RK[r, k + 2], left_RK[r, k + 3]
            l4, l5, l6, l7 = left_RK[r, k + 4], left_RK[r, k + 5], left_RK[r, k + 6], left_RK[r, k + 7]
            for n in range(sum_RN.shape[1]):
                first = l0 * right_KN[k, n] + l1 * right_KN[k + 1, n]
                second = l2 * right_KN[k + 2, n] + l3 * right_KN[k + 3, n]
                third = l4 * right_KN[k + 4, n] + l5 * right_KN[k + 5, n]
                fourth = l6 * right_KN[k + 6, n] + l7 * right_KN[k + 7, n]
                sum_RN[r, n] += (first + second) + (third + fourth)
    for k in range(whole, num_terms):
        for r in range(num_rows):
            for n in range(sum_RN.shape[1]):
                sum_RN[r, n] += left_RK[r, k] * right_KN[k, n]
