"""The hybrid block: a Mamba on whose inner channels neurons live. At birth it is the plain Mamba, whatever is on.

    x, g  from Mamba's first product and convolution of norm(input)
    z1  = spikes of the first population of INPUT_GAIN x[:S] + bias         r1 = code(z1): rate, trace or membrane
    y   = Mamba's scan of x, with step size, B and C read from x + c r1     (sequential, bidirectional)
    z2  = second population of W_p z1 + bias, which w y drives (sequential) or whose time constants it steers
          (bidirectional)
    q   = what Mamba's last product reads                                   z = (z1, z2)      r = (r1, z2)
    input + W_out q + gate (W_out (a z q + b r))                            one gate for each head of the width

a, b, c and w are one number for each channel and start at zero: spikes select, gate and are read out through Mamba's
own matrices, so that all the neurons add is W_p and a few vectors. Their currents carry no gradient into Mamba: neurons
listen, and a, b and c learn what that is good for. In `sequential` mode only the second population is read out. W_p is
the plastic synapse: STDP changes it beside the gradient. With cross-attention each path also reads the other's last
tokens, at the price of matrices of its own. Mamba is of version 1 (S6) or 2 (SSD, where r1 moves the step size alone).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.core.shapes import Activations, Resets
from mambrane.kernels.autocast import as_factor
from mambrane.layers.adapter import SpikeCode
from mambrane.layers.attention import WindowedCrossAttention
from mambrane.layers.cost import ComponentCost, FiringRates
from mambrane.layers.elementwise import sigmoid
from mambrane.layers.liquid import LiquidPopulation
from mambrane.layers.mamba import Mamba, MambaState
from mambrane.layers.mamba2 import Mamba2, Mamba2State
from mambrane.layers.path_gate import PathGate
from mambrane.layers.spiking import SpikingPopulation, Ticks
from mambrane.models.block import Block, MixerBlock, Need
from mambrane.models.blocks import spiking
from mambrane.models.config import ModelConfig
from mambrane.models.state import BlockActivity
from mambrane.ops import KeyValueCache
from mambrane.ops.linear import linear
from mambrane.ops.rms_norm import rms_norm
from mambrane.ops.spike_read_out import spike_read_out

INPUT_GAIN = 2.0
"""Factor of the channels that become currents, so that neurons fire from the first step."""

_MAMBA: Need = ("--use-mamba", lambda config: config.use_mamba)
_MAMBA1: Need = ("--use-mamba with --mamba-version 1", lambda c: c.use_mamba and c.mamba_version == 1)
_MAMBA2: Need = ("--use-mamba with --mamba-version 2", lambda c: c.use_mamba and c.mamba_version == 2)
_ATTENTION: Need = ("--use-cross-attention", lambda config: config.use_cross_attention)

SETTINGS: dict[str, Need | None] = spiking.SETTINGS | {
    "use_mamba": None,
    "mamba_version": _MAMBA,
    "mamba_expand": _MAMBA,
    "mamba_d_state": _MAMBA,
    "mamba_d_conv": _MAMBA,
    "mamba_dt_rank": _MAMBA1,
    "mamba_head_dim": _MAMBA2,
    "mamba_groups": _MAMBA2,
    "integration_mode": _MAMBA,
    "use_adaptive_gating": None,
    "num_gate_heads": _MAMBA,
    "use_cross_attention": None,
    "cross_attn_heads": _ATTENTION,
    "cross_attn_window": _ATTENTION,
}


def build(config: ModelConfig) -> Block:
    """Return a block; without a Mamba it is a spiking one."""
    return HybridBlock(config) if config.use_mamba else spiking.build(config)


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    names = spiking.operations(config)
    if config.use_mamba:
        names += Mamba.operations if config.mamba_version == 1 else Mamba2.operations
        names += ("spike_read_out",) + ("head_gate",) * config.use_adaptive_gating
        is_steered = config.integration_mode == "bidirectional" and config.liquid_backbone == "lif"
        names += ("steered_decay",) * is_steered
    return names + ("windowed_attention",) * config.use_cross_attention


class HybridState(NamedTuple):
    """What a hybrid block remembers; None where it has no such part, or nothing was read yet."""

    mamba: MambaState | Mamba2State | None = None
    first_BS: Tensor | None = None
    """Membrane of the first population after its last tick."""
    second_BS: Tensor | None = None
    """Membrane of the second population, or the hidden state of a liquid cell."""
    code: Tensor | None = None
    """Trace [B, S] (temporal) or last spikes [B, S, 9] (rate)."""
    spiking_reads_mamba: KeyValueCache | None = None
    mamba_reads_spiking: KeyValueCache | None = None


class HybridBlock(MixerBlock):
    """One block of the residual stream: a Mamba with neurons on its inner channels."""

    mixer: Mamba | Mamba2
    plastic: nn.Linear

    def __init__(self, config: ModelConfig) -> None:
        dim = config.hidden_dim
        _require_channels(config)
        super().__init__(
            dim,
            Mamba(dim, **config.mamba_sizes) if config.mamba_version == 1 else Mamba2(dim, **config.mamba2_sizes),
        )
        self.mode = config.integration_mode
        self.ticks = Ticks(config.num_spike_steps)
        self.first, self.plastic, self.second = spiking.populations(config)
        units, second_units = config.spiking_units, config.second_units
        self.code = SpikeCode(
            units,
            method=config.spike_to_mamba_method,
            temporal_tau_tokens=config.spike_temporal_tau,
            ticks=self.ticks,
        )
        read = second_units if self.mode == "sequential" else units + second_units
        self.first_bias = nn.Parameter(torch.zeros(units))
        self.second_bias = nn.Parameter(torch.zeros(second_units))
        self.spikes_gate = nn.Parameter(torch.zeros(read))
        self.spikes_out = nn.Parameter(torch.zeros(read))
        if self.mode != "parallel":
            self.spikes_select = nn.Parameter(torch.zeros(units))
            self.mamba_to_second = nn.Parameter(torch.zeros(second_units))
        self.path_gate = PathGate(dim, heads=config.num_gate_heads, adaptive=config.use_adaptive_gating)
        self.uses_attention = config.use_cross_attention
        if self.uses_attention:
            sizes = {
                "inner": config.attention_dim,
                "heads": config.cross_attn_heads,
                "window": config.cross_attn_window,
            }
            self.spiking_reads_mamba = WindowedCrossAttention(read, dim, dim, **sizes)
            self.mamba_reads_spiking = WindowedCrossAttention(dim, read, dim, **sizes)

    def reset_parameters(self, generator: torch.Generator, *, num_blocks: int) -> None:
        """Start Mamba as published; everything through which spikes act on it is zero."""
        super().reset_parameters(generator, num_blocks=num_blocks)
        spiking.reset_plastic(self.plastic, generator)
        if isinstance(self.second, LiquidPopulation):
            self.second.reset_parameters(generator)
        if self.uses_attention:
            with torch.no_grad():
                self.spiking_reads_mamba.output.weight.zero_()
                self.mamba_reads_spiking.output.weight.zero_()

    def forward(
        self, x_BTD: Activations, *, state: HybridState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, HybridState, BlockActivity]:
        """Return the new residual stream [B, T, D], the state after the last token, and what the block did."""
        state = state or HybridState()
        conv_BEK, scan_state = (None, None) if state.mamba is None else state.mamba
        u_BTD = self.norm(x_BTD)
        if u_BTD.device.type != "cpu":
            # The gate reads it too: half the memory for both, and for the gradient.
            u_BTD = as_factor(u_BTD)
        channels = self.mixer.channels(u_BTD, conv_BEK=conv_BEK, resets_BT=resets_BT)

        units, tick_resets = self.first_bias.numel(), self.ticks.spread_resets(resets_BT)
        current_BTS = INPUT_GAIN * channels.x_BTE[..., :units].detach() + self.first_bias
        first = self.first(self.ticks.spread(current_BTS), state_BS=state.first_BS, resets_BT=tick_resets)
        code_BTS, code_state = self.code(first, state=state.code, resets_BT=resets_BT)

        selecting_BTS = None if self.mode == "parallel" else self.spikes_select * code_BTS
        y_BTE, scan_state = self.mixer.scan(channels, scan_state, resets_BT=resets_BT, selecting_BTS=selecting_BTS)
        heard_BTP = None
        if self.mode != "parallel":
            heard_BTP = self.mixer.read(y_BTE, channels, units, units + self.second_bias.numel())
        second_BTP, second_state, post_spikes = self._run_second(first.spikes_BTS, heard_BTP, state, tick_resets)

        q_BTE = self.mixer.gated(y_BTE, channels)
        mamba_BTD = self.mixer.out_proj(q_BTE)
        out_BTR, read_BTR = self._read_out(q_BTE, first.spikes_BTS, code_BTS, second_BTP)
        spiking_BTD = linear(out_BTR, self.mixer.out_proj.weight[:, : out_BTR.shape[-1]].contiguous())
        attention_states = (None, None)
        if self.uses_attention:
            spiking_BTD, mamba_BTD, attention_states = self._attend(spiking_BTD, read_BTR, mamba_BTD, state, resets_BT)
        gated_BTD, gate = self.path_gate(spiking_BTD, u_BTD)
        mamba_state = self.mixer.state_type(channels.conv_BEK, scan_state)
        new_state = HybridState(mamba_state, first.state_BS, second_state, code_state, *attention_states)
        return x_BTD + mamba_BTD + gated_BTD, new_state, spiking.activity_of(first.spikes_BTS, post_spikes, gate)

    def _run_second(self, pre_spikes_BTS: Tensor, heard_BTP: Tensor | None, state: HybridState, resets_BT):  # noqa: ANN001, ANN202
        """Return the read-out per token [B, T, P], the new state, and the spikes per tick (None for a liquid cell)."""
        current_BTP = self.plastic(pre_spikes_BTS) + self.second_bias
        options: dict[str, Any] = {"state_BS": state.second_BS, "resets_BT": resets_BT}
        if heard_BTP is not None:
            if self.mode == "sequential":
                current_BTP = current_BTP + self.ticks.spread(self.mamba_to_second * heard_BTP)
            elif isinstance(self.second, SpikingPopulation):
                options["decay_BTS"] = self.ticks.spread(self.second.steered_decay(heard_BTP, self.mamba_to_second))
            else:
                # Half to one and a half times the cell's own time constants; 1 while the weights are zero.
                time_scale_BTP = 0.5 + sigmoid(self.mamba_to_second * heard_BTP)
                options["time_scale_BTS"] = self.ticks.spread(time_scale_BTP)
        second = self.second(current_BTP, **options)
        post_spikes_BTP = second.spikes_BTS if isinstance(self.second, SpikingPopulation) else None
        return self.ticks.mean(second[0]), second[-1], post_spikes_BTP

    def _read_out(
        self, q_BTE: Tensor, spikes_BTS: Tensor, code_BTS: Tensor, second_BTP: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return a z q + b r and r, [B, T, R] each; in sequential mode those of the second population alone."""
        factors = self.spikes_gate, self.spikes_out
        if self.mode == "sequential":
            return spike_read_out(q_BTE, None, None, second_BTP, *factors)
        return spike_read_out(q_BTE, self.ticks.mean(spikes_BTS), code_BTS, second_BTP, *factors)

    def _attend(self, spiking_BTD: Tensor, read_BTR: Tensor, mamba_BTD: Tensor, state: HybridState, resets_BT):  # noqa: ANN001, ANN202
        """Return both paths after each has read the other, and the two caches."""
        normed_read, normed_mamba = (rms_norm(x) for x in (read_BTR, mamba_BTD))
        from_mamba, first_cache = self.spiking_reads_mamba(
            normed_read, normed_mamba, state=state.spiking_reads_mamba, resets_BT=resets_BT
        )
        from_spiking, second_cache = self.mamba_reads_spiking(
            normed_mamba, normed_read, state=state.mamba_reads_spiking, resets_BT=resets_BT
        )
        return spiking_BTD + from_mamba, mamba_BTD + from_spiking, (first_cache, second_cache)

    def costs(self, rates: FiringRates) -> list[ComponentCost]:
        """Return the cost of each component at these firing rates."""
        ticks, numbers = self.ticks.per_token, self.spikes_out.numel()
        (mamba,) = super().costs(rates)
        coupling = ComponentCost(
            name="coupling",
            parameters=sum(
                p.numel()
                for name, p in self.named_parameters(recurse=False)
                if name not in ("first_bias", "second_bias")
            ),
            dense_macs_per_token=float(numbers * self.mixer.out_proj.out_features),
            state_updates_per_token=3.0 * numbers,
        )
        costs = [
            mamba,
            _with_parameters(self.first.cost("first population", ticks_per_token=ticks), self.first_bias),
            self.code.cost(),
            spiking.plastic_cost(self.plastic, rates, ticks),
            _with_parameters(self.second.cost("second population", ticks_per_token=ticks), self.second_bias),
            coupling + self.path_gate.cost(),
        ]
        if self.uses_attention:
            costs.append(self.spiking_reads_mamba.cost() + self.mamba_reads_spiking.cost())
        return costs


def _with_parameters(cost: ComponentCost, *parameters: nn.Parameter) -> ComponentCost:
    return cost + ComponentCost(name=cost.name, parameters=sum(parameter.numel() for parameter in parameters))


def _require_channels(config: ModelConfig) -> None:
    channels, neurons = config.mamba_expand * config.hidden_dim, config.spiking_units + config.second_units
    if neurons > channels:
        units = "--spiking-units" if config.liquid_backbone == "lif" else "--spiking-units and --liquid-units"
        raise UserError(
            f"{units}: {config.spiking_units} and {config.second_units} units of the two populations on "
            f"{channels} inner channels of a Mamba of width {config.hidden_dim}",
            wanted="one channel for each unit of both",
            way_out=f"{units} {channels // 2}, or a larger --hidden-dim or --mamba-expand",
        )
