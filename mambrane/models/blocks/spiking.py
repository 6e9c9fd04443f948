"""A spiking block: two populations of neurons with the plastic synapse between them, and nothing else.

    u = norm(x)      z1 = spikes of the first population of W_in u      z2 = second population of W_p z1
    x + W_out norm(adapter(z1) + W_r z2)

W_p is the plastic synapse: STDP changes it beside the gradient. The second population spikes, or is a liquid cell.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.adapter import SpikeAdapter
from mambrane.layers.cost import ComponentCost, FiringRates, macs, num_parameters
from mambrane.layers.linear import Linear
from mambrane.layers.liquid import LiquidPopulation
from mambrane.layers.norm import RmsNorm
from mambrane.layers.spiking import SpikingPopulation, Ticks, firing_rate_per_tick
from mambrane.models.block import Block, Need
from mambrane.models.config import ModelConfig
from mambrane.models.state import BlockActivity

INPUT_GAIN = 2.0
"""W_in is drawn so much wider than torch's default, so that neurons fire from the first step."""
PLASTIC_GAIN = 2.0
"""W_p is drawn from normal(0, PLASTIC_GAIN / sqrt(S)), for the same reason."""

_LIQUID: Need = ("--liquid-backbone cfc or ltc", lambda config: config.liquid_backbone != "lif")
_TEMPORAL: Need = ("--spike-to-mamba-method temporal", lambda config: config.spike_to_mamba_method == "temporal")

SETTINGS: dict[str, Need | None] = {
    "spiking_units": None,
    "liquid_units": _LIQUID,
    "liquid_backbone": None,
    "num_spike_steps": None,
    "spike_threshold": None,
    "spike_temporal_tau": _TEMPORAL,
    "spike_reset": None,
    "detach_reset": None,
    "surrogate": None,
    "surrogate_slope": None,
    "spike_to_mamba_method": None,
}


def build(config: ModelConfig) -> "SpikingBlock":
    """Return a block."""
    return SpikingBlock(config)


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    code = "causal_conv" if config.spike_to_mamba_method == "rate" else "causal_trace"
    liquid = () if config.liquid_backbone == "lif" else (config.liquid_backbone,)
    return ("lif", code, *liquid)


def populations(config: ModelConfig) -> tuple[SpikingPopulation, Linear, SpikingPopulation | LiquidPopulation]:
    """Return the first population, the plastic synapse, and the second population."""
    options: dict[str, Any] = {
        "threshold": config.spike_threshold,
        "reset": config.spike_reset,
        "detach_reset": config.detach_reset,
        "surrogate": config.surrogate,
        "surrogate_slope": config.surrogate_slope,
    }
    units, keep = config.spiking_units, config.spike_to_mamba_method == "potential"
    return (
        SpikingPopulation(units, **options, keep_membranes=keep),
        Linear(units, config.second_units, bias=False),
        SpikingPopulation(units, **options)
        if config.liquid_backbone == "lif"
        else LiquidPopulation(config.second_units, kind=config.liquid_backbone),
    )


def reset_plastic(plastic: nn.Linear, generator: torch.Generator) -> None:
    """Draw the plastic synapse, so that the second population fires from the first step."""
    with torch.no_grad():
        plastic.weight.normal_(0.0, PLASTIC_GAIN / math.sqrt(plastic.in_features), generator=generator)


def activity_of(
    first_spikes_BTS: Tensor, second_spikes_BTS: Tensor | None, gate: Tensor | None = None
) -> BlockActivity:
    """Return what a block with two populations did; the second spikes are None for a liquid cell."""
    return BlockActivity(
        pre_spikes_BTS=first_spikes_BTS.detach(),
        post_spikes_BTS=None if second_spikes_BTS is None else second_spikes_BTS.detach(),
        first_rate=firing_rate_per_tick(first_spikes_BTS),
        second_rate=None if second_spikes_BTS is None else firing_rate_per_tick(second_spikes_BTS),
        gate=None if gate is None else gate.detach(),
    )


class SpikingState(NamedTuple):
    """What a spiking block remembers; None before anything was read."""

    first_BS: Tensor | None = None
    """Membrane of the first population after its last tick."""
    second_BS: Tensor | None = None
    """Membrane of the second population, or the hidden state of a liquid cell."""
    adapter: Tensor | None = None
    """Trace [B, S] (temporal) or last spikes [B, S, 9] (rate)."""


class SpikingBlock(Block):
    """One block of the residual stream without a Mamba."""

    plastic: nn.Linear
    embedding_std = 0.1
    """The path enters the stream normalised; behind 0.02, as published, it would drown the token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.ticks = Ticks(config.num_spike_steps)
        self.norm = RmsNorm(dim)
        self.input = Linear(dim, config.spiking_units, bias=False)
        self.first, self.plastic, self.second = populations(config)
        self.adapter = SpikeAdapter(
            config.spiking_units,
            dim,
            method=config.spike_to_mamba_method,
            temporal_tau_tokens=config.spike_temporal_tau,
            ticks=self.ticks,
        )
        self.readout = Linear(config.second_units, dim, bias=False)
        self.output = Linear(dim, dim, bias=False)
        self.spiking_norm = RmsNorm(dim)

    def reset_parameters(self, generator: torch.Generator, *, num_blocks: int) -> None:
        """Draw W_in and W_p so that neurons fire; the output starts as the identity."""
        with torch.no_grad():
            self.input.weight.mul_(INPUT_GAIN)
            reset_plastic(self.plastic, generator)
            # The path enters the stream as it is, scaled so that its variance at the head does not grow with depth.
            self.output.weight.copy_(torch.eye(self.output.out_features) / math.sqrt(num_blocks))
        if isinstance(self.second, LiquidPopulation):
            self.second.reset_parameters(generator)

    def forward(
        self, x_BTD: Activations, *, state: SpikingState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, SpikingState, BlockActivity]:
        """Return the new residual stream [B, T, D], the state after the last token, and what the block did."""
        state = state or SpikingState()
        tick_resets = self.ticks.spread_resets(resets_BT)
        current_BTS = self.ticks.spread(self.input(self.norm(x_BTD)))
        first = self.first(current_BTS, state_BS=state.first_BS, resets_BT=tick_resets)
        adapted_BTD, adapter_state = self.adapter(first, state=state.adapter, resets_BT=resets_BT)
        second = self.second(self.plastic(first.spikes_BTS), state_BS=state.second_BS, resets_BT=tick_resets)
        path_BTD = self.spiking_norm(adapted_BTD + self.readout(self.ticks.mean(second[0])))
        post_spikes_BTS = second.spikes_BTS if isinstance(self.second, SpikingPopulation) else None
        return (
            x_BTD + self.output(path_BTD),
            SpikingState(first.state_BS, second[-1], adapter_state),
            activity_of(first.spikes_BTS, post_spikes_BTS),
        )

    def costs(self, rates: FiringRates) -> list[ComponentCost]:
        """Return the cost of each component at these firing rates."""
        ticks = self.ticks.per_token
        first = ComponentCost(
            name="first population",
            parameters=num_parameters(self.input, self.norm),
            dense_macs_per_token=macs(self.input),
        )
        return [
            first + self.first.cost("first population", ticks_per_token=ticks),
            self.adapter.cost(),
            plastic_cost(self.plastic, rates, ticks),
            self.second.cost("second population", ticks_per_token=ticks) + self._readout_cost(rates.second),
            ComponentCost(
                name="output",
                parameters=num_parameters(self.output, self.spiking_norm),
                dense_macs_per_token=macs(self.output),
            ),
        ]

    def _readout_cost(self, second_rate: float | None) -> ComponentCost:
        """Count the read-out of the second population; that of a liquid cell reads dense numbers."""
        products, is_liquid = macs(self.readout), isinstance(self.second, LiquidPopulation)
        return ComponentCost(
            name="second population",
            parameters=num_parameters(self.readout),
            dense_macs_per_token=products if is_liquid else 0.0,
            # With several ticks the read-out sees their mean; executed once a token, event-driven once a spike.
            spike_macs_per_token=0.0 if is_liquid else products,
            synaptic_operations_per_token=(
                0.0 if is_liquid or second_rate is None else products * self.ticks.per_token * second_rate
            ),
        )


def plastic_cost(plastic: nn.Linear, rates: FiringRates, ticks_per_token: int) -> ComponentCost:
    """Return the cost of the plastic synapse, whose product reads the spikes of the first population."""
    assert rates.first is not None, "the first population spikes"
    return ComponentCost(
        name="plastic synapse",
        parameters=num_parameters(plastic),
        spike_macs_per_token=macs(plastic) * ticks_per_token,
        synaptic_operations_per_token=macs(plastic) * ticks_per_token * rates.first,
    )
