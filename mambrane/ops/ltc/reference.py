"""Liquid time-constant cell (LTC) over tokens: the definition that the fast backends must match.

    current of synapse i -> j:  c = w[i,j] sigmoid(sigma[i,j] (v[i] - mu[i,j]))        sensory ones read u instead of v
    cm[j] dv[j]/dtime = gleak[j] (vleak[j] - v[j]) + sum_i c[i,j] (erev[i,j] - v[j])

solved by 6 semi-implicit steps of d = elapsed / 6 for each token, with u = input_weight x + input_bias:

    v'[j] = (cm v + d (gleak vleak + sum_i c erev)) / (cm + d (gleak + sum_i c + 1e-8))

v is the state (unitless), elapsed > 0 the time since the last token (1 when nothing is given). Every unit hears every
input and every unit, itself included. There is no output mapping: a Linear after the cell does the same.
Letters beyond core/shapes: I input width; P, the pre-synaptic side, is I or L.
Source: Hasani et al., Liquid Time-constant Networks, AAAI 2021, arXiv 2006.04439, algorithm 1; same arithmetic as
LTCCell of ncps 1.0.1 (there divided by d), where the 1e-8 keeps a cell without any conductance finite.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets

NUM_UNFOLDS = 6
EPSILON = 1e-8


class LtcWeights(NamedTuple):
    """The parameters of one LTC cell. Synapses are [from, to], as published.

    w, sensory_w and gleak must not be negative and cm must be positive: the owner of the parameters sees to it (for
    instance softplus of a free parameter, as ncps does). Nothing is clamped here.
    """

    input_weight: Tensor
    """[I]: scale of each input."""
    input_bias: Tensor
    """[I]"""
    sensory_w: Tensor
    """[I, L]: greatest conductance of a sensory synapse; >= 0."""
    sensory_mu: Tensor
    """[I, L]: input at which the synapse is half open."""
    sensory_sigma: Tensor
    """[I, L]: steepness of the opening."""
    sensory_erev: Tensor
    """[I, L]: state towards which the synapse pulls (reversal potential); born +1 or -1."""
    w: Tensor
    """[L, L]: greatest conductance of a recurrent synapse; >= 0."""
    mu: Tensor
    """[L, L]"""
    sigma: Tensor
    """[L, L]"""
    erev: Tensor
    """[L, L]"""
    cm: Tensor
    """[L]: membrane capacitance; > 0."""
    gleak: Tensor
    """[L]: leak conductance; >= 0."""
    vleak: Tensor
    """[L]: resting state."""


class LtcOutput(NamedTuple):
    """What the cell returns."""

    hidden_BTL: Tensor
    """State after each token, in the type of the input."""
    state_BL: Tensor
    """State after the last token, in the type of the arithmetic: float32, or float64 for float64 input."""


def ltc_reference(
    x_BTI: Float[Tensor, "B T I"],
    weights: LtcWeights,
    *,
    state_BL: Float[Tensor, "B L"] | None = None,
    resets_BT: Resets | None = None,
    elapsed_BT: Float[Tensor, "B T"] | Float[Tensor, "B T L"] | None = None,
) -> LtcOutput:
    """Return the states of an LTC cell, token by token in plain PyTorch; arguments as in `mambrane.ops.ltc.ltc`."""
    inner = torch.promote_types(x_BTI.dtype, torch.float32)
    p = LtcWeights(*(weight.to(inner) for weight in weights))
    batch_size, num_tokens, _ = x_BTI.shape
    v_BL = x_BTI.new_zeros(batch_size, p.cm.shape[0], dtype=inner) if state_BL is None else state_BL.to(inner)
    elapsed_BTL = x_BTI.new_ones(1, 1, 1) if elapsed_BT is None else elapsed_BT
    elapsed_BTL = elapsed_BTL if elapsed_BTL.ndim == 3 else elapsed_BTL.unsqueeze(-1)
    elapsed_BTL = elapsed_BTL.to(inner).expand(batch_size, num_tokens, -1)
    u_BTI = x_BTI.to(inner) * p.input_weight + p.input_bias
    hidden = []
    for t in range(num_tokens):
        if resets_BT is not None:
            v_BL = torch.where(resets_BT[:, t, None], 0.0, v_BL)
        d_BL = elapsed_BTL[:, t] / NUM_UNFOLDS
        sensory_pull_BL, sensory_conductance_BL = _synapses(
            u_BTI[:, t], p.sensory_w, p.sensory_mu, p.sensory_sigma, p.sensory_erev
        )
        for _ in range(NUM_UNFOLDS):
            pull_BL, conductance_BL = _synapses(v_BL, p.w, p.mu, p.sigma, p.erev)
            pull_BL = p.gleak * p.vleak + pull_BL + sensory_pull_BL
            conductance_BL = p.gleak + conductance_BL + sensory_conductance_BL + EPSILON
            v_BL = (p.cm * v_BL + d_BL * pull_BL) / (p.cm + d_BL * conductance_BL)
        hidden.append(v_BL)
    return LtcOutput(torch.stack(hidden, dim=1).to(x_BTI.dtype), v_BL)


def _synapses(pre_BP: Tensor, w_PL: Tensor, mu_PL: Tensor, sigma_PL: Tensor, erev_PL: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pull (conductance times reversal potential) and the conductance that each unit receives; [B, L]."""
    open_BPL = w_PL * torch.sigmoid(sigma_PL * (pre_BP[:, :, None] - mu_PL))
    return (open_BPL * erev_PL).sum(dim=1), open_BPL.sum(dim=1)
