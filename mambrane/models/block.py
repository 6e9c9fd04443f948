"""The hybrid block: first population -> Mamba -> second population -> fusion, acyclic and exact within a token.

    u = norm(x)            z1 = spikes of the first population of W_in u            a = adapter(z1)
    m = Mamba              of a (sequential), of u (parallel), of u + a with B, C modulated by a (bidirectional)
    z2 = second population of W_p z1, with time constants steered by m (bidirectional) or driven by W_m m (sequential)
    s = a + W_r z2         the spiking path
    s, m read each other   (cross-attention)
    x + W_out fuse(s, m)   without Mamba: x + W_out norm(s)

W_p is the plastic synapse: STDP changes it beside the gradient. Mamba is of version 1 (S6) or 2 (SSD); both take
their input, state and the extra B and C alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.adapter import SpikeAdapter
from mambrane.layers.attention import WindowedCrossAttention
from mambrane.layers.elementwise import sigmoid
from mambrane.layers.fusion import GatedFusion
from mambrane.layers.linear import Linear
from mambrane.layers.liquid import LiquidPopulation
from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.layers.norm import RmsNorm
from mambrane.layers.spiking import SpikingPopulation, Ticks, firing_rate_per_tick
from mambrane.models.config import ModelConfig
from mambrane.models.state import BlockActivity, BlockState

NO_STATE = BlockState(None, None, None, None, None, None)


class HybridBlock(nn.Module):
    """One block of the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, units = config.hidden_dim, config.spiking_units
        self.mode = config.integration_mode if config.use_mamba else "spiking"
        self.ticks = Ticks(config.num_spike_steps)
        lif_options = {
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
        mamba = {"expand": config.mamba_expand, "d_state": config.mamba_d_state, "d_conv": config.mamba_d_conv}
        self.mamba = Mamba(dim, **mamba, dt_rank=config.dt_rank) if config.mamba_version == 1 else Mamba2(dim, **mamba)
        self.fusion = GatedFusion(dim, heads=config.num_gate_heads, adaptive=config.use_adaptive_gating)
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

    def forward(
        self, x_BTD: Activations, *, state: BlockState = NO_STATE, resets_BT: Resets | None = None
    ) -> tuple[Activations, BlockState, BlockActivity]:
        """Return the new residual stream [B, T, D], the state after the last token, and what the block did."""
        u_BTD = self.norm(x_BTD)
        tick_resets = self.ticks.spread_resets(resets_BT)
        first = self.first(self.ticks.spread(self.input(u_BTD)), state_BS=state.first_BS, resets_BT=tick_resets)
        adapted_BTD, adapter_state = self.adapter(first, state=state.adapter, resets_BT=resets_BT)

        mamba_BTD, mamba_state = self._run_mamba(u_BTD, adapted_BTD, state, resets_BT)
        second_BTS, second_state, post_spikes_BTS = self._run_second(first.spikes_BTS, mamba_BTD, state, tick_resets)
        spiking_BTD = adapted_BTD + self.readout(second_BTS)

        fused_BTD, gate, attention_states = self._fuse(spiking_BTD, mamba_BTD, state, resets_BT)
        new_state = BlockState(first.state_BS, second_state, adapter_state, mamba_state, *attention_states)
        activity = BlockActivity(
            pre_spikes_BTS=first.spikes_BTS.detach(),
            post_spikes_BTS=None if post_spikes_BTS is None else post_spikes_BTS.detach(),
            first_rate=firing_rate_per_tick(first.spikes_BTS),
            second_rate=None if post_spikes_BTS is None else firing_rate_per_tick(post_spikes_BTS),
            gate=None if gate is None else gate.detach(),
        )
        return x_BTD + self.output(fused_BTD), new_state, activity

    def _run_mamba(self, u_BTD: Tensor, adapted_BTD: Tensor, state: BlockState, resets_BT: Resets | None):  # noqa: ANN202
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
        mamba_input_BTD = adapted_BTD if self.mode == "sequential" else u_BTD
        return self.mamba(mamba_input_BTD, state=state.mamba, resets_BT=resets_BT)

    def _run_second(self, pre_spikes_BTS: Tensor, mamba_BTD: Tensor | None, state: BlockState, resets: Resets | None):  # noqa: ANN202
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

    def _fuse(self, spiking_BTD: Tensor, mamba_BTD: Tensor | None, state: BlockState, resets_BT: Resets | None):  # noqa: ANN202
        if mamba_BTD is None:
            return self.spiking_norm(spiking_BTD), None, (None, None)
        attention_states = (None, None)
        if self.uses_attention:
            asking_spiking, asking_mamba = (F.rms_norm(x, x.shape[-1:], eps=1e-5) for x in (spiking_BTD, mamba_BTD))
            from_mamba, first_state = self.spiking_reads_mamba(
                asking_spiking, asking_mamba, state=state.spiking_reads_mamba, resets_BT=resets_BT
            )
            from_spiking, second_state = self.mamba_reads_spiking(
                asking_mamba, asking_spiking, state=state.mamba_reads_spiking, resets_BT=resets_BT
            )
            spiking_BTD, mamba_BTD = spiking_BTD + from_mamba, mamba_BTD + from_spiking
            attention_states = (first_state, second_state)
        fused_BTD, gate = self.fusion(spiking_BTD, mamba_BTD)
        return fused_BTD, gate, attention_states
