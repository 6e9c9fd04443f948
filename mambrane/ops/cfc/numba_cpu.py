# ruff: noqa: ANN001, ANN202 -- Numba finds the types of a kernel's arguments
"""CfC on the CPU: one kernel forward, one backward, then the sums over tokens that are the gradients of the weights.

The formula is in `reference.py`. The heads ff1, ff2, time_a, time_b are stacked as one matrix; where no times are
given, elapsed is 1 and time_a + time_b a single head. The forward kernel keeps what the backbone heard, x[t] and
h[t-1], its activations and what the heads gave; the backward kernel finds the gradients before each product.

A thread takes a share of the batch, whose rows read the weights together. Each number is a sum in one fixed order, so
it depends neither on the threads nor on how a sequence is split; a BLAS does not promise this.
Letters beyond core/shapes: I input width; J = I + L; U backbone units; G = 3 L or 4 L; M = 0 (no times), 1 or L; R some
rows; P, C as in `products.py`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambrane.kernels.arguments import (
    arrays,
    compute_dtype,
    no_resets,
    ordered_sum,
    require_elapsed,
    require_shape,
    require_tokens,
)
from mambrane.kernels.blocks import add, clear, copy
from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_math import sigmoid, tanh
from mambrane.kernels.operator import operator
from mambrane.kernels.products import add_product, panels, sum_over_tokens, whole_panels, zero_sums
from mambrane.kernels.threads import parallel_for
from mambrane.ops.cfc.reference import LECUN_GAIN, LECUN_SLOPE, CfcOutput, CfcWeights


def cfc_numba(
    x_BTI: Tensor, weights: CfcWeights, *, state_BL: Tensor | None, resets_BT: Tensor | None, elapsed_BT: Tensor | None
) -> CfcOutput:
    """Return the states of a CfC cell; arguments as in `mambrane.ops.cfc.cfc`."""
    _check(x_BTI, weights, state_BL, resets_BT, elapsed_BT)
    dtype = compute_dtype(x_BTI)
    batch_size, num_tokens, _ = x_BTI.shape
    w = CfcWeights(*(weight.to(dtype) for weight in weights))
    if state_BL is None:
        state_BL = x_BTI.new_zeros(batch_size, w.ff1_bias.shape[0])
    if elapsed_BT is None:
        # After a time of one, the two parts of the time gate are a single head.
        elapsed_BTM = x_BTI.new_empty(batch_size, num_tokens, 0)
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
    hidden_BTL, *_ = _cfc(
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


@operator("cfc")
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return states [B, T, L], and what is kept, T = 0 if it is not.

    Kept are what the backbone heard [B, T, J], its activations [B, T, U], both filled up to whole panels, and
    tanh ff1, tanh ff2, time_a, s [B, T, G].
    """
    outputs = _cfc_outputs(x_BTI, state_BL, elapsed_BTM, backbone_UJ, bias_U, heads_GU, bias_G, resets_BT, is_kept)
    num_shares = min(len(x_BTI), torch.get_num_threads())
    parallel_for(
        _forward,
        num_shares,
        num_shares,
        *arrays(x_BTI, state_BL, resets_BT, elapsed_BTM, bias_U, bias_G),
        panels(backbone_UJ.T),
        panels(heads_GU.T),
        *arrays(*outputs),
        work_ns=0.01 * resets_BT.numel() * (backbone_UJ.numel() + heads_GU.numel()),
    )
    return outputs


@_cfc.register_shapes
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch_size, num_tokens, _ = x_BTI.shape
    (num_backbone, num_heard), num_heads = backbone_UJ.shape, bias_G.shape[0]
    num_kept = num_tokens if is_kept else 0
    return (
        x_BTI.new_empty(batch_size, num_tokens, state_BL.shape[1]),
        x_BTI.new_empty(batch_size, num_kept, whole_panels(num_heard)),
        x_BTI.new_empty(batch_size, num_kept, whole_panels(num_backbone)),
        x_BTI.new_empty(batch_size, num_kept, num_heads),
    )


@operator("cfc_backward")
def _cfc_backward(
    grad_hidden_BTL: Tensor,
    elapsed_BTM: Tensor,
    backbone_UJ: Tensor,
    heads_GU: Tensor,
    resets_BT: Tensor,
    heard_BTJ: Tensor,
    backbone_BTU: Tensor,
    heads_BTG: Tensor,
    with_elapsed: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the first seven arguments of the forward operation; elapsed times' only if wanted."""
    (num_heads, num_backbone), num_heard = heads_GU.shape, backbone_UJ.shape[1]
    batch_size, num_tokens, num_units = grad_hidden_BTL.shape
    grad_drive_BTU = grad_hidden_BTL.new_empty(batch_size, num_tokens, num_backbone)
    grad_heads_BTG = torch.empty_like(heads_BTG)
    grad_x_BTI = grad_hidden_BTL.new_empty(batch_size, num_tokens, num_heard - num_units)
    grad_state_BL = grad_hidden_BTL.new_empty(batch_size, num_units)
    grad_bias_BU, grad_bias_BG = (grad_hidden_BTL.new_zeros(batch_size, size) for size in (num_backbone, num_heads))
    num_shares = min(batch_size, torch.get_num_threads())
    parallel_for(
        _backward,
        num_shares,
        num_shares,
        *arrays(grad_hidden_BTL, resets_BT, elapsed_BTM),
        panels(backbone_UJ),
        panels(heads_GU),
        *arrays(backbone_BTU, heads_BTG),
        *arrays(grad_x_BTI, grad_state_BL, grad_drive_BTU, grad_heads_BTG, grad_bias_BU, grad_bias_BG),
        work_ns=0.01 * resets_BT.numel() * (backbone_UJ.numel() + heads_GU.numel()),
    )
    return (
        grad_x_BTI,
        grad_state_BL,
        _grad_elapsed(heads_BTG, grad_heads_BTG, elapsed_BTM) if with_elapsed else elapsed_BTM.new_empty(0),
        sum_over_tokens(grad_drive_BTU.flatten(0, 1), heard_BTJ.flatten(0, 1), num_heard),
        ordered_sum(grad_bias_BU),
        sum_over_tokens(grad_heads_BTG.flatten(0, 1), backbone_BTU.flatten(0, 1), num_backbone),
        ordered_sum(grad_bias_BG),
    )


def _grad_elapsed(heads_BTG: Tensor, grad_heads_BTG: Tensor, elapsed_BTM: Tensor) -> Tensor:
    """Return the gradient of the elapsed times: time_b is added to elapsed time_a, so its gradient is the product's."""
    grad_elapsed_BTL = heads_BTG.chunk(4, dim=-1)[2] * grad_heads_BTG.chunk(4, dim=-1)[3]
    return grad_elapsed_BTL.sum(dim=-1, keepdim=True) if elapsed_BTM.shape[2] == 1 else grad_elapsed_BTL


@_cfc_backward.register_shapes
def _(grad_hidden_BTL, elapsed_BTM, backbone_UJ, heads_GU, resets_BT, heard_BTJ, backbone_BTU, heads_BTG, with_elapsed):
    (num_heads, num_backbone), num_heard = heads_GU.shape, backbone_UJ.shape[1]
    batch_size, num_tokens, num_units = grad_hidden_BTL.shape
    return (
        grad_hidden_BTL.new_empty(batch_size, num_tokens, num_heard - num_units),
        grad_hidden_BTL.new_empty(batch_size, num_units),
        torch.empty_like(elapsed_BTM) if with_elapsed else elapsed_BTM.new_empty(0),
        torch.empty_like(backbone_UJ),
        backbone_UJ.new_empty(num_backbone),
        torch.empty_like(heads_GU),
        heads_GU.new_empty(num_heads),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 -- torch's own
    _, _, elapsed_BTM, backbone_UJ, _, heads_GU, _, resets_BT, _ = inputs
    ctx.save_for_backward(elapsed_BTM, backbone_UJ, heads_GU, resets_BT, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _run_backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch's own
    if grads[0] is None:
        return (None,) * 9
    with_elapsed = ctx.needs_input_grad[2]
    grad_x_BTI, grad_state_BL, grad_elapsed_BTM, *others = _cfc_backward(grads[0], *ctx.saved_tensors, with_elapsed)
    return grad_x_BTI, grad_state_BL, grad_elapsed_BTM if with_elapsed else None, *others, None, None


_cfc.register_gradients(_run_backward, _save)


@kernel(makes_arrays=True)
def _forward(
    first_share,
    last_share,
    num_shares,
    x_BTI,
    state_BL,
    resets_BT,
    elapsed_BTM,
    bias_U,
    bias_G,
    backbone_PJC,
    heads_PUC,
    hidden_BTL,
    heard_BTJ,
    backbone_BTU,
    heads_BTG,
):
    rows = slice(first_share * len(x_BTI) // num_shares, last_share * len(x_BTI) // num_shares)
    x_RTI, resets_RT, elapsed_RTM, hidden_RTL = x_BTI[rows], resets_BT[rows], elapsed_BTM[rows], hidden_BTL[rows]
    heard_RTJ, backbone_RTU, heads_RTG = heard_BTJ[rows], backbone_BTU[rows], heads_BTG[rows]
    num_rows, num_tokens, num_inputs = x_RTI.shape
    dtype = x_RTI.dtype.type
    gain, slope = dtype(LECUN_GAIN), dtype(LECUN_SLOPE)
    a_RU, heads_RG = zero_sums(num_rows, backbone_PJC), zero_sums(num_rows, heads_PUC)
    heard_RJ = np.zeros((len(a_RU), heard_BTJ.shape[2]), x_RTI.dtype)
    h_RL = heard_RJ[:, num_inputs : backbone_PJC.shape[1]]
    for r in range(num_rows):
        copy(state_BL[rows][r], h_RL[r])
    for t in range(num_tokens):
        for r in range(num_rows):
            copy(x_RTI[r, t], heard_RJ[r, :num_inputs])
            if resets_RT[r, t]:
                clear(h_RL[r])
            copy(bias_U, a_RU[r, : bias_U.size])
            copy(bias_G, heads_RG[r, : bias_G.size])
        add_product(heard_RJ, backbone_PJC, a_RU)
        for r in range(num_rows):
            for u in range(a_RU.shape[1]):
                a_RU[r, u] = gain * tanh(slope * a_RU[r, u])
            if heard_RTJ.shape[1] > 0:
                copy(heard_RJ[r], heard_RTJ[r, t])
                copy(a_RU[r], backbone_RTU[r, t])
        add_product(a_RU, heads_PUC, heads_RG)
        for r in range(num_rows):
            _apply_heads(heads_RG[r, : bias_G.size], elapsed_RTM[r, t], h_RL[r])
            copy(h_RL[r], hidden_RTL[r, t])
            if heads_RTG.shape[1] > 0:
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
def _backward(
    first_share,
    last_share,
    num_shares,
    grad_hidden_BTL,
    resets_BT,
    elapsed_BTM,
    backbone_PUC,
    heads_PGC,
    backbone_BTU,
    heads_BTG,
    grad_x_BTI,
    grad_state_BL,
    grad_drive_BTU,
    grad_heads_BTG,
    grad_bias_BU,
    grad_bias_BG,
):
    rows = slice(first_share * len(resets_BT) // num_shares, last_share * len(resets_BT) // num_shares)
    grad_hidden_RTL, resets_RT, elapsed_RTM = grad_hidden_BTL[rows], resets_BT[rows], elapsed_BTM[rows]
    backbone_RTU, heads_RTG, grad_x_RTI = backbone_BTU[rows], heads_BTG[rows], grad_x_BTI[rows]
    grad_drive_RTU, grad_heads_RTG = grad_drive_BTU[rows], grad_heads_BTG[rows]
    grad_bias_RU, grad_bias_RG = grad_bias_BU[rows], grad_bias_BG[rows]
    num_rows, num_tokens, num_units = grad_hidden_RTL.shape
    num_inputs, num_backbone, num_heads = grad_x_RTI.shape[2], grad_bias_RU.shape[1], grad_bias_RG.shape[1]
    dtype = grad_hidden_RTL.dtype.type
    one, inverse_gain, steepness = dtype(1), dtype(1 / LECUN_GAIN), dtype(LECUN_GAIN * LECUN_SLOPE)
    grad_heard_RJ, grad_a_RU = zero_sums(num_rows, backbone_PUC), zero_sums(num_rows, heads_PGC)
    grad_heads_RG = np.zeros((len(grad_a_RU), num_heads), grad_a_RU.dtype)
    grad_h_RL = grad_heard_RJ[:, num_inputs : num_inputs + num_units]
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
            clear(grad_heard_RJ[r])
        add_product(grad_a_RU, backbone_PUC, grad_heard_RJ)
        for r in range(num_rows):
            copy(grad_heard_RJ[r, :num_inputs], grad_x_RTI[r, t])
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
