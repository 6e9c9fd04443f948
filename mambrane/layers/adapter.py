"""Spikes to continuous numbers: one of three strictly causal codes, and behind it, where asked for, a map S -> D.

    rate        r[t] = mean of z over the last 10 tokens
    temporal    r[t] = rho r[t-1] + (1 - rho) z[t],   rho = exp(-1 / tau), tau in tokens
    potential   r[t] = v'[t] / rms(v'[t]), the membrane before the reset

A windowed rate is how Mamba-Spike feeds Mamba (Qin et al. 2024, arXiv 2408.11823); the trace is the usual synaptic
filter (Gerstner et al., Neuronal Dynamics, section 19.2).
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.cost import ComponentCost, macs, num_parameters
from mambrane.layers.linear import Linear
from mambrane.layers.spiking import Ticks
from mambrane.ops.causal_conv import causal_conv
from mambrane.ops.causal_trace import causal_trace
from mambrane.ops.lif import LifOutput
from mambrane.ops.rms_norm import rms_norm

RATE_WINDOW_TOKENS = 10


class SpikeCode(nn.Module):
    """Turns the spikes of a population into one continuous number for each neuron and token; learns nothing."""

    def __init__(
        self, units: int, *, method: Literal["rate", "temporal", "potential"], temporal_tau_tokens: float, ticks: Ticks
    ) -> None:
        super().__init__()
        self.units = units
        self.method = method
        self.ticks = ticks
        self.temporal_decay = math.exp(-1.0 / (temporal_tau_tokens * ticks.per_token))

    def forward(
        self, population: LifOutput, *, state: Tensor | None = None, resets_BT: Resets | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the code [B, T, S] and its state.

        Args:
            population: spikes of the first population [B, T K, S], for potential its membranes too.
            state: what an earlier call returned: the last spikes [B, S, 9] for rate, the trace [B, S] for temporal,
                None for potential, whose memory is the membrane itself.
            resets_BT: where documents start.
        """
        if self.method == "rate":
            return self._rate(self.ticks.mean(population.spikes_BTS), state, resets_BT)
        if self.method == "temporal":
            tick_resets = self.ticks.spread_resets(resets_BT)
            code_BTS, state = causal_trace(
                population.spikes_BTS, self.temporal_decay, state_BS=state, resets_BT=tick_resets
            )
            return self.ticks.last(code_BTS), state
        assert population.membrane_BTS is not None, "the population keeps them for this method"
        membrane_BTS = self.ticks.last(population.membrane_BTS)
        return rms_norm(membrane_BTS), None

    def cost(self) -> ComponentCost:
        """Return what the code costs."""
        return ComponentCost(
            name="spike adapter",
            state_updates_per_token=float(self.units * self.ticks.per_token),
            state_numbers=self.units * {"rate": RATE_WINDOW_TOKENS - 1, "temporal": 1, "potential": 0}[self.method],
        )

    def _rate(self, spikes_BTS: Tensor, state: Tensor | None, resets_BT: Resets | None) -> tuple[Tensor, Tensor]:
        weight_EK = spikes_BTS.new_full((self.units, RATE_WINDOW_TOKENS), 1.0 / RATE_WINDOW_TOKENS)
        bias_E = torch.zeros_like(weight_EK[:, 0])
        return causal_conv(spikes_BTS, weight_EK, bias_E, state_BEK=state, resets_BT=resets_BT, activation=None)


class SpikeAdapter(SpikeCode):
    """The code of a population behind a linear map S -> D."""

    def __init__(
        self,
        units: int,
        dim: int,
        *,
        method: Literal["rate", "temporal", "potential"],
        temporal_tau_tokens: float,
        ticks: Ticks,
    ) -> None:
        super().__init__(units, method=method, temporal_tau_tokens=temporal_tau_tokens, ticks=ticks)
        self.projection = Linear(units, dim, bias=False)

    def forward(
        self, population: LifOutput, *, state: Tensor | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, Tensor | None]:
        """Return the adapter's output [B, T, D] and its state; see `SpikeCode.forward`."""
        code_BTS, state = super().forward(population, state=state, resets_BT=resets_BT)
        return self.projection(code_BTS), state

    def cost(self) -> ComponentCost:
        """Return what the adapter costs."""
        return super().cost() + ComponentCost(
            name="spike adapter",
            parameters=num_parameters(self),
            dense_macs_per_token=macs(self.projection),
        )
