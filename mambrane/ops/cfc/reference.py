"""Closed-form continuous-time cell (CfC) over tokens: the definition that the fast backends must match.

    a[t]  = 1.7159 tanh(0.666 (W_x x[t] + W_h h[t-1] + b))           backbone, one layer, LeCun's scaled tanh
    s[t]  = sigmoid((A a[t] + b_A) elapsed[t] + (B a[t] + b_B))      how far time has carried the state
    h[t]  = (1 - s[t]) tanh(F a[t] + b_F) + s[t] tanh(G a[t] + b_G)

F, G, A, B are the heads ff1, ff2, time_a, time_b. elapsed is the time since the last token (unitless, 1 when nothing
is given). Letters beyond core/shapes: I input width, U backbone units.
Source: Hasani et al., Closed-form continuous-time neural networks, 2022, arXiv 2106.13898; same arithmetic as CfCCell
of ncps 1.0.1 in mode "default" with one backbone layer.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets

LECUN_GAIN = 1.7159
LECUN_SLOPE = 0.666


class CfcWeights(NamedTuple):
    """The parameters of one CfC cell. Weights are [out, in]; the backbone reads the input first, then the state."""

    backbone_weight: Tensor
    """[U, I + L]"""
    backbone_bias: Tensor
    """[U]"""
    ff1_weight: Tensor
    """[L, U]: where the state is when no time has passed."""
    ff1_bias: Tensor
    """[L]"""
    ff2_weight: Tensor
    """[L, U]: where the state goes as time passes."""
    ff2_bias: Tensor
    """[L]"""
    time_a_weight: Tensor
    """[L, U]: the rate that multiplies the elapsed time."""
    time_a_bias: Tensor
    """[L]"""
    time_b_weight: Tensor
    """[L, U]: the part of the time gate that does not depend on the elapsed time."""
    time_b_bias: Tensor
    """[L]"""


class CfcOutput(NamedTuple):
    """What the cell returns."""

    hidden_BTL: Tensor
    """State after each token, in the type of the input."""
    state_BL: Tensor
    """State after the last token, in the type of the arithmetic: float32, or float64 for float64 input."""


def cfc_reference(
    x_BTI: Float[Tensor, "B T I"],
    weights: CfcWeights,
    *,
    state_BL: Float[Tensor, "B L"] | None = None,
    resets_BT: Resets | None = None,
    elapsed_BT: Float[Tensor, "B T"] | Float[Tensor, "B T L"] | None = None,
) -> CfcOutput:
    """Return the states of a CfC cell, token by token in plain PyTorch; arguments as in `mambrane.ops.cfc.cfc`."""
    inner = torch.promote_types(x_BTI.dtype, torch.float32)
    w = CfcWeights(*(weight.to(inner) for weight in weights))
    batch_size, num_tokens, _ = x_BTI.shape
    num_units = w.ff1_bias.shape[0]
    h_BL = x_BTI.new_zeros(batch_size, num_units, dtype=inner) if state_BL is None else state_BL.to(inner)
    elapsed_BTL = x_BTI.new_ones(1, 1, 1) if elapsed_BT is None else elapsed_BT
    elapsed_BTL = elapsed_BTL if elapsed_BTL.ndim == 3 else elapsed_BTL.unsqueeze(-1)
    elapsed_BTL = elapsed_BTL.to(inner).expand(batch_size, num_tokens, -1)
    hidden = []
    for t in range(num_tokens):
        if resets_BT is not None:
            h_BL = torch.where(resets_BT[:, t, None], 0.0, h_BL)
        z_BU = torch.cat([x_BTI[:, t].to(inner), h_BL], dim=-1) @ w.backbone_weight.T + w.backbone_bias
        a_BU = LECUN_GAIN * torch.tanh(LECUN_SLOPE * z_BU)
        ff1_BL = torch.tanh(a_BU @ w.ff1_weight.T + w.ff1_bias)
        ff2_BL = torch.tanh(a_BU @ w.ff2_weight.T + w.ff2_bias)
        time_a_BL = a_BU @ w.time_a_weight.T + w.time_a_bias
        time_b_BL = a_BU @ w.time_b_weight.T + w.time_b_bias
        s_BL = torch.sigmoid(time_a_BL * elapsed_BTL[:, t] + time_b_BL)
        h_BL = (1.0 - s_BL) * ff1_BL + s_BL * ff2_BL
        hidden.append(h_BL)
    return CfcOutput(torch.stack(hidden, dim=1).to(x_BTI.dtype), h_BL)
