"""The hybrid block: first population -> Mamba -> second population -> fusion, acyclic and exact within a token.

    u = norm(x)            z1 = spikes of the first population of W_in u            a = adapter(z1)
    m = Mamba              of a (sequential), of u (parallel), of u + a with B, C modulated by a (bidirectional)
    z2 = second population of W_p z1, with time constants steered by m (bidirectional) or driven by W_m m (sequential)
    s = a + W_r z2         the spiking path
    s, m read each other   (cross-attention)
    x + W_out fuse(s, m)   without Mamba: x + W_out norm(s)

With `--spiking-path added` Mamba reads u, plus a where it reads the spikes, and the block returns

    x + m + W_out g norm(s)          W_out, and W_a of the adapter where Mamba reads it, start at zero

so that at birth it is the plain Mamba block of the same weights.

W_p is the plastic synapse: STDP changes it beside the gradient. Mamba is of version 1 (S6) or 2 (SSD); both take
their input, state and the extra B and C alike.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.adapter import SpikeAdapter
from mambrane.layers.attention import WindowedCrossAttention
from mambrane.layers.cost import ComponentCost, FiringRates, macs, num_parameters
from mambrane.layers.elementwise import sigmoid
from mambrane.layers.fusion import GatedFusion
from mambrane.layers.linear import Linear
from mambrane.layers.liquid import LiquidPopulation
from mambrane.layers.mamba import Mamba, MambaState
from mambrane.layers.mamba2 import Mamba2, Mamba2State
from mambrane.layers.norm import RmsNorm
from mambrane.layers.spiking import SpikingPopulation, Ticks, firing_rate_per_tick
from mambrane.models.block import PUBLISHED_EMBEDDING_STD, Block, Need
from mambrane.models.config import ModelConfig
from mambrane.models.state import BlockActivity
from mambrane.ops import KeyValueCache

MIXED_EMBEDDING_STD = 0.1
INPUT_GAIN = 2.0
"""W_in is drawn so much wider than torch's default, so that neurons fire from the first step."""
PLASTIC_GAIN = 2.0
"""W_p is drawn from normal(0, PLASTIC_GAIN / sqrt(S)), for the same reason."""

_MAMBA: Need = ("--use-mamba", lambda config: config.use_mamba)
_MAMBA1: Need = ("--use-mamba with --mamba-version 1", lambda c: c.use_mamba and c.mamba_version == 1)
_MAMBA2: Need = ("--use-mamba with --mamba-version 2", lambda c: c.use_mamba and c.mamba_version == 2)
_ATTENTION: Need = ("--use-cross-attention", lambda config: config.use_cross_attention)
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
    "use_mamba": None,
    "mamba_version": _MAMBA,
    "mamba_expand": _MAMBA,
    "mamba_d_state": _MAMBA,
    "mamba_d_conv": _MAMBA,
    "mamba_dt_rank": _MAMBA1,
    "mamba_head_dim": _MAMBA2,
    "mamba_groups": _MAMBA2,
    "spiking_path": _MAMBA,
    "integration_mode": _MAMBA,
    "spike_to_mamba_method": None,
    "use_adaptive_gating": None,
    "num_gate_heads": _MAMBA,
    "use_cross_attention": None,
    "cross_attn_heads": _ATTENTION,
    "cross_attn_window": _ATTENTION,
}


def build(config: ModelConfig) -> "HybridBlock":
    """Return a block."""
    return HybridBlock(config)


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    names = ["lif", "causal_conv" if config.spike_to_mamba_method == "rate" else "causal_trace"]
    if config.use_mamba:
        names += Mamba.operations if config.mamba_version == 1 else Mamba2.operations
    if config.liquid_backbone != "lif":
        names.append(config.liquid_backbone)
    if config.use_cross_attention:
        names.append("windowed_attention")
    return tuple(names)


class HybridState(NamedTuple):
    """What a hybrid block remembers; None where it has no such part, or nothing was read yet."""

    first_BS: Tensor | None = None
    """Membrane of the first population after its last tick."""
    second_BS: Tensor | None = None
    """Membrane of the second population, or the hidden state of a liquid cell."""
    adapter: Tensor | None = None
    """Trace [B, S] (temporal) or last spikes [B, S, 9] (rate)."""
    mamba: MambaState | Mamba2State | None = None
    spiking_reads_mamba: KeyValueCache | None = None
    mamba_reads_spiking: KeyValueCache | None = None


class HybridBlock(Block):
    """One block of the residual stream."""

    plastic: Linear

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, units = config.hidden_dim, config.spiking_units
        self.mode = config.integration_mode if config.use_mamba else "spiking"
        self.is_added = config.use_mamba and config.spiking_path == "added"
        # Normalised paths would drown a token of the published width (docs/experiments.md).
        self.embedding_std = PUBLISHED_EMBEDDING_STD if self.is_added else MIXED_EMBEDDING_STD
        self.ticks = Ticks(config.num_spike_steps)
        lif_options: dict[str, Any] = {
            "threshold": config.spike_threshold,
            "reset": config.spike_reset,
            "detach_reset": config.detach_reset,
            "surrogate": config.surrogate,
            "surrogate_slope": config.surrogate_slope,
        }
        self.norm = RmsNorm(dim)
        self.input = Linear(dim, units, bias=False)
        self.first = SpikingPopulation(units, **lif_options, keep_membranes=config.spike_to_mamba_method == "potential")
        self.adapter = SpikeAdapter(
            units,
            dim,
            method=config.spike_to_mamba_method,
            temporal_tau_tokens=config.spike_temporal_tau,
            ticks=self.ticks,
        )
        self.plastic = Linear(units, config.second_units, bias=False)
        self.second = (
            SpikingPopulation(units, **lif_options)
            if config.liquid_backbone == "lif"
            else LiquidPopulation(config.second_units, kind=config.liquid_backbone)
        )
        self.readout = Linear(config.second_units, dim, bias=False)
        self.output = Linear(dim, dim, bias=False)
        if not config.use_mamba:
            self.spiking_norm = RmsNorm(dim)
            return
        self.mamba = (
            Mamba(dim, **config.mamba_sizes) if config.mamba_version == 1 else Mamba2(dim, **config.mamba2_sizes)
        )
        self.fusion = GatedFusion(
            dim, heads=config.num_gate_heads, adaptive=config.use_adaptive_gating, mixes=not self.is_added
        )
        if self.mode == "sequential":
            self.mamba_to_second = Linear(dim, config.second_units, bias=False)
        if self.mode == "bidirectional":
            self.spikes_to_B = Linear(dim, config.mamba_d_state, bias=False)
            self.spikes_to_C = Linear(dim, config.mamba_d_state, bias=False)
            self.mamba_to_tau = Linear(dim, config.second_units, bias=False)
        self.uses_attention = config.use_cross_attention
        if self.uses_attention:
            attention = {
                "inner": config.attention_dim,
                "heads": config.cross_attn_heads,
                "window": config.cross_attn_window,
            }
            self.spiking_reads_mamba = WindowedCrossAttention(dim, **attention)
            self.mamba_reads_spiking = WindowedCrossAttention(dim, **attention)

    def reset_parameters(self, generator: torch.Generator, *, num_blocks: int) -> None:
        """Start as two independent paths with Mamba dominating: every coupling between them is zero.

        Mamba, of either version, starts as published; an added spiking path is not heard at all.
        """
        with torch.no_grad():
            self.input.weight.mul_(INPUT_GAIN)
            units = self.plastic.weight.shape[1]
            self.plastic.weight.normal_(0.0, PLASTIC_GAIN / math.sqrt(units), generator=generator)
            # The paths enter the stream as they are, scaled so that its variance at the head does not grow with depth.
            self.output.weight.copy_(torch.eye(self.output.out_features) / math.sqrt(num_blocks))
            if self.mode == "bidirectional":
                for coupling in (self.spikes_to_B, self.spikes_to_C, self.mamba_to_tau):
                    coupling.weight.zero_()
                if self.uses_attention:
                    self.spiking_reads_mamba.output.weight.zero_()
                    self.mamba_reads_spiking.output.weight.zero_()
        if isinstance(self.second, LiquidPopulation):
            self.second.reset_parameters(generator)
        if self.mode != "spiking":
            self.mamba.reset_parameters(generator)
        if self.is_added:
            self._start_as_plain_mamba(num_blocks)

    def _start_as_plain_mamba(self, num_blocks: int) -> None:
        with torch.no_grad():
            self.mamba.out_proj.weight.div_(math.sqrt(num_blocks))
            self.output.weight.zero_()
            if self.mode != "parallel":
                self.adapter.projection.weight.zero_()

    def forward(
        self, x_BTD: Activations, *, state: HybridState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, HybridState, BlockActivity]:
        """Return the new residual stream [B, T, D], the state after the last token, and what the block did."""
        state = state or HybridState()
        u_BTD = self.norm(x_BTD)
        tick_resets = self.ticks.spread_resets(resets_BT)
        first = self.first(self.ticks.spread(self.input(u_BTD)), state_BS=state.first_BS, resets_BT=tick_resets)
        adapted_BTD, adapter_state = self.adapter(first, state=state.adapter, resets_BT=resets_BT)

        mamba_BTD, mamba_state = self._run_mamba(u_BTD, adapted_BTD, state, resets_BT)
        second_BTS, second_state, post_spikes_BTS = self._run_second(first.spikes_BTS, mamba_BTD, state, tick_resets)
        spiking_BTD = adapted_BTD + self.readout(second_BTS)

        fused_BTD, mamba_BTD, gate, attention_states = self._fuse(spiking_BTD, mamba_BTD, state, resets_BT)
        new_state = HybridState(first.state_BS, second_state, adapter_state, mamba_state, *attention_states)
        activity = BlockActivity(
            pre_spikes_BTS=first.spikes_BTS.detach(),
            post_spikes_BTS=None if post_spikes_BTS is None else post_spikes_BTS.detach(),
            first_rate=firing_rate_per_tick(first.spikes_BTS),
            second_rate=None if post_spikes_BTS is None else firing_rate_per_tick(post_spikes_BTS),
            gate=None if gate is None else gate.detach(),
        )
        if mamba_BTD is not None and self.is_added:
            x_BTD = x_BTD + mamba_BTD
        return x_BTD + self.output(fused_BTD), new_state, activity

    def _run_mamba(self, u_BTD: Tensor, adapted_BTD: Tensor, state: HybridState, resets_BT: Resets | None):  # noqa: ANN202
        if self.mode == "spiking":
            return None, None
        if self.mode == "bidirectional":
            return self.mamba(
                u_BTD + adapted_BTD,
                state=state.mamba,
                resets_BT=resets_BT,
                B_extra_BTN=self.spikes_to_B(adapted_BTD),
                C_extra_BTN=self.spikes_to_C(adapted_BTD),
            )
        mamba_input_BTD = u_BTD
        if self.mode == "sequential":
            mamba_input_BTD = u_BTD + adapted_BTD if self.is_added else adapted_BTD
        return self.mamba(mamba_input_BTD, state=state.mamba, resets_BT=resets_BT)

    def _run_second(self, pre_spikes_BTS: Tensor, mamba_BTD: Tensor | None, state: HybridState, resets: Resets | None):  # noqa: ANN202
        """Return the read-out per token [B, T, S], the new state, and the spikes per tick (None for a liquid cell)."""
        current_BTS = self.plastic(pre_spikes_BTS)
        if self.mode == "sequential":
            current_BTS = current_BTS + self.ticks.spread(self.mamba_to_second(mamba_BTD))
        time_scale_BTS = None
        if self.mode == "bidirectional":
            # Half to one and a half times the population's own time constants; 1 while the weights are zero.
            time_scale_BTS = self.ticks.spread(0.5 + sigmoid(self.mamba_to_tau(mamba_BTD)))
        second = self.second(current_BTS, state_BS=state.second_BS, resets_BT=resets, time_scale_BTS=time_scale_BTS)
        post_spikes_BTS = second.spikes_BTS if isinstance(self.second, SpikingPopulation) else None
        return self.ticks.mean(second[0]), second[-1], post_spikes_BTS

    def _fuse(self, spiking_BTD: Tensor, mamba_BTD: Tensor | None, state: HybridState, resets_BT: Resets | None):  # noqa: ANN202
        """Return what the paths give together, Mamba's alone, the gate, and the states of the attention."""
        if mamba_BTD is None:
            return self.spiking_norm(spiking_BTD), None, None, (None, None)
        attention_states = (None, None)
        if self.uses_attention:
            normed_spiking, normed_mamba = (F.rms_norm(x, x.shape[-1:], eps=1e-5) for x in (spiking_BTD, mamba_BTD))
            from_mamba, first_state = self.spiking_reads_mamba(
                normed_spiking, normed_mamba, state=state.spiking_reads_mamba, resets_BT=resets_BT
            )
            from_spiking, second_state = self.mamba_reads_spiking(
                normed_mamba, normed_spiking, state=state.mamba_reads_spiking, resets_BT=resets_BT
            )
            spiking_BTD, mamba_BTD = spiking_BTD + from_mamba, mamba_BTD + from_spiking
            attention_states = (first_state, second_state)
        fused_BTD, gate = self.fusion(spiking_BTD, mamba_BTD)
        return fused_BTD, mamba_BTD, gate, attention_states

    def costs(self, rates: FiringRates) -> list[ComponentCost]:
        """Return the cost of each component at these firing rates."""
        ticks, mamba_path = self.ticks.per_token, self.mode != "spiking"
        assert rates.first is not None, "the first population spikes"
        first = ComponentCost(
            name="first population",
            parameters=num_parameters(self.input, self.norm),
            dense_macs_per_token=macs(self.input),
        )
        plastic = ComponentCost(
            name="plastic synapse",
            parameters=num_parameters(self.plastic),
            spike_macs_per_token=macs(self.plastic) * ticks,
            synaptic_operations_per_token=macs(self.plastic) * ticks * rates.first,
        )
        output = ComponentCost(
            name="fusion and output" if mamba_path else "output",
            parameters=num_parameters(self.output),
            dense_macs_per_token=macs(self.output),
        )
        costs = [
            first + self.first.cost("first population", ticks_per_token=ticks),
            self.adapter.cost(),
            plastic,
            self.second.cost("second population", ticks_per_token=ticks) + self._readout_cost(rates.second),
        ]
        if not mamba_path:
            return [*costs, output + ComponentCost(name="output", parameters=num_parameters(self.spiking_norm))]
        costs.append(self.mamba.cost())
        if couplings := self._couplings():
            coupling_macs = macs(*couplings)
            costs.append(
                ComponentCost(
                    name="coupling", parameters=num_parameters(*couplings), dense_macs_per_token=coupling_macs
                )
            )
        if self.uses_attention:
            costs.append(self.spiking_reads_mamba.cost() + self.mamba_reads_spiking.cost())
        return [*costs, self.fusion.cost() + output]

    def _couplings(self) -> list[Linear]:
        if self.mode == "sequential":
            return [self.mamba_to_second]
        return [self.spikes_to_B, self.spikes_to_C, self.mamba_to_tau] if self.mode == "bidirectional" else []

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
