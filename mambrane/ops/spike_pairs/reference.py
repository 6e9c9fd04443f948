"""Pairs of spikes on both sides of synapses, in plain PyTorch: the definition that faster backends must match.

For each synapse, with s the presynaptic spikes and z the postsynaptic ones, 0 at ticks that do not count, and k = 0
where a document starts, else 1:

    x[t] = k p x[t-1] + s[t]                  trace of the presynaptic spikes, p = exp(-1 / tau_plus)
    y[t] = k m y[t-1] + z[t]                  trace of the postsynaptic spikes, m = exp(-1 / tau_minus)

    causal[u, s]    = sum of z_u[t] x_s[t]             presynaptic first, or at the same tick
    acausal[u, s]   = sum of s_s[t] (y_u[t] - z_u[t])  postsynaptic first
    both_high[u, s] = number of counted ticks with x_s[t] > high_x and y_u[t] > high_y

Source of online pair rules: Morrison, Diesmann, Gerstner, Biological Cybernetics 98 (2008), section 4.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.kernels.arguments import as_tensor_like
from mambrane.ops.causal_trace import causal_trace


class SpikePairs(NamedTuple):
    """Sums over batch and time: for each synapse, a row for each postsynaptic unit."""

    causal_NUS: Float[Tensor, "N U S"]
    acausal_NUS: Float[Tensor, "N U S"]
    both_high_NUS: Float[Tensor, "N U S"]


def spike_pairs_reference(
    pre: Sequence[Tensor],
    post: Sequence[Tensor],
    *,
    decay_plus: float,
    decay_minus: float,
    high_x: float,
    high_y: float,
    resets_BT: Tensor,
    counted_BT: Tensor,
) -> SpikePairs:
    """Return the sums; arguments as in `mambrane.ops.spike_pairs.spike_pairs`."""
    counted_BT1 = counted_BT.unsqueeze(-1).to(pre[0].dtype)
    causal, acausal, both_high = [], [], []
    for pre_BTS, post_BTU in zip(pre, post, strict=True):
        pre_BTS, post_BTU = pre_BTS * counted_BT1, post_BTU * counted_BT1
        x_BTS, y_BTU = spike_trace(pre_BTS, decay_plus, resets_BT), spike_trace(post_BTU, decay_minus, resets_BT)
        x_is_high_BTS, y_is_high_BTU = (x_BTS > high_x).to(x_BTS.dtype), (y_BTU > high_y) * counted_BT1
        causal.append(_sum_of_products(post_BTU, x_BTS))
        acausal.append(_sum_of_products(y_BTU - post_BTU, pre_BTS))
        both_high.append(_sum_of_products(y_is_high_BTU, x_is_high_BTS))
    return SpikePairs(torch.stack(causal), torch.stack(acausal), torch.stack(both_high))


def spike_trace(spikes_BTS: Tensor, decay: float, resets_BT: Tensor) -> Tensor:
    """Return x[t] = k decay x[t-1] + s[t] for every unit [B, T, S], in the type of the spikes (float32 or float64)."""
    average_BTS, _ = causal_trace(spikes_BTS, decay, resets_BT=resets_BT)
    # The operation weighs a spike by 1 - decay; the same rounding of it here cancels exactly.
    return average_BTS / (1.0 - as_tensor_like(decay, spikes_BTS))


def _sum_of_products(left_BTU: Tensor, right_BTS: Tensor) -> Tensor:
    return left_BTU.flatten(0, 1).T @ right_BTS.flatten(0, 1)
