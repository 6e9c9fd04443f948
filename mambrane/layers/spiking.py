"""A population of leaky integrate-and-fire neurons with learnable time constants.

    beta = exp(-1 / tau)        v'[t] = beta v[t-1] + i[t]        z[t] = 1 if v'[t] >= threshold else 0

tau is in ticks (one tick a token unless --num-spike-steps says more), learned as log(tau) so that it stays positive.
A population can be steered: a Mamba's channels then move tau token by token, between half and one and a half of it.
Source: Gerstner et al., Neuronal Dynamics, sections 1.3 and 5; the operation itself is `mambrane.ops.lif`.
"""

import math
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from mambrane.core.shapes import Currents, Resets, Spikes
from mambrane.layers.cost import ComponentCost, num_parameters
from mambrane.ops.lif import LifOutput, lif
from mambrane.ops.steered_decay import steered_decay


class SpikingPopulation(nn.Module):
    """S leaky integrate-and-fire neurons; the currents come from outside."""

    def __init__(
        self,
        units: int,
        *,
        tau_ticks: float = 4.0,
        threshold: float = 1.0,
        reset: str = "subtract",
        detach_reset: bool = False,
        surrogate: str = "fast_sigmoid",
        surrogate_slope: float = 5.0,
        keep_membranes: bool = False,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "threshold": threshold,
            "reset": reset,
            "detach_reset": detach_reset,
            "surrogate": surrogate,
            "surrogate_slope": surrogate_slope,
            "keep_membranes": keep_membranes,
        }
        self.log_tau = nn.Parameter(torch.full((units,), math.log(tau_ticks)))

    def forward(
        self,
        current_BTS: Currents,
        *,
        state_BS: Tensor | None = None,
        resets_BT: Resets | None = None,
        decay_BTS: Tensor | None = None,
    ) -> LifOutput:
        """Return spikes, membranes before reset (None unless they are kept), and the membrane after the last tick.

        Args:
            current_BTS: the currents.
            state_BS: membranes before the first tick.
            resets_BT: where documents start.
            decay_BTS: what `steered_decay` returned, tick by tick; beta of the population where not given.
        """
        decay = torch.exp(-1.0 / self.log_tau.exp()) if decay_BTS is None else decay_BTS
        return lif(current_BTS, decay, state_BS=state_BS, resets_BT=resets_BT, **self.options)

    def steered_decay(self, heard_BTS: Tensor, weight_S: Tensor) -> Tensor:
        """Return beta [B, T, S] of neurons that hear so much of a Mamba's channels; a weight of 0 hears nothing."""
        return steered_decay(heard_BTS, weight_S, self.log_tau)

    def cost(self, name: str, *, ticks_per_token: int) -> ComponentCost:
        """Return what the neurons cost beside the products that feed and read them."""
        units = self.log_tau.numel()
        return ComponentCost(
            name=name,
            parameters=num_parameters(self),
            state_updates_per_token=2.0 * units * ticks_per_token,
            state_numbers=units,
        )


class Ticks(NamedTuple):
    """Repeats tokens for K ticks and gathers ticks back into tokens; K = 1 changes nothing."""

    per_token: int

    @overload
    def spread(self, x_BTS: Tensor) -> Tensor: ...

    @overload
    def spread(self, x_BTS: Tensor | None) -> Tensor | None: ...

    def spread(self, x_BTS: Tensor | None) -> Tensor | None:
        """Repeat every token K times: [B, T, S] -> [B, T K, S]."""
        if x_BTS is None or self.per_token == 1:
            return x_BTS
        return x_BTS.repeat_interleave(self.per_token, dim=1)

    @overload
    def spread_resets(self, resets_BT: Resets) -> Tensor: ...

    @overload
    def spread_resets(self, resets_BT: Resets | None) -> Tensor | None: ...

    def spread_resets(self, resets_BT: Resets | None) -> Tensor | None:
        """Reset at the first tick of a token only: [B, T] -> [B, T K]."""
        if resets_BT is None or self.per_token == 1:
            return resets_BT
        ticks = resets_BT.new_zeros(*resets_BT.shape, self.per_token)
        ticks[..., 0] = resets_BT
        return ticks.flatten(1)

    def mean(self, x_BTS: Tensor) -> Tensor:
        """Average over the ticks of each token: [B, T K, S] -> [B, T, S]."""
        if self.per_token == 1:
            return x_BTS
        return x_BTS.unflatten(1, (-1, self.per_token)).mean(dim=2)

    def last(self, x_BTS: Tensor) -> Tensor:
        """Keep the last tick of each token: [B, T K, S] -> [B, T, S]."""
        return x_BTS if self.per_token == 1 else x_BTS[:, self.per_token - 1 :: self.per_token]


def firing_rate_per_tick(spikes_BTS: Spikes) -> Tensor:
    """Return the mean number of spikes of a neuron in a tick; a scalar."""
    return spikes_BTS.mean()
