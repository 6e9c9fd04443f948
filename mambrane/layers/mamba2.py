"""Mamba, version 2: a state-space path with one decay for each head (SSD).

    (z, x, B, C, dt) = W_in u      (x, B, C) = silu(conv(x, B, C))      delta = softplus(dt + b_dt)
    h[t] = exp(delta A) h[t-1] + delta x B^T      y = h C + D x         out = W_out norm(y silu(z))

for each of H heads of P channels; delta, A and D are one number for each head, B and C are shared by the heads of a
group, of which there is one as a rule; with several, the norm is over each group too.
Parameter names, shapes and arithmetic are the published ones (RMSNorm behind the gate, `norm_before_gate=False`).
The phases of a call, `channels`, `scan` and `gated`, can be called by themselves, as in version 1.
Source: Dao & Gu 2024, Transformers are SSMs, arXiv 2405.21060, section 7; initialisation from their mamba2.py.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambrane.core.shapes import Activations, Resets
from mambrane.core.weight_decay import exempt_from_weight_decay
from mambrane.layers.cost import ComponentCost, macs, num_parameters
from mambrane.layers.elementwise import softplus
from mambrane.layers.linear import Linear
from mambrane.layers.mamba import InnerChannels, draw_dt_bias
from mambrane.layers.norm import RmsNorm
from mambrane.ops.causal_conv import causal_conv
from mambrane.ops.gated_norm import gated_norm
from mambrane.ops.gated_skip import gated_skip
from mambrane.ops.ssd import ssd

MAX_HEAD_CHANNELS = 64
A_MIN, A_MAX = 1.0, 16.0


class Mamba2State(NamedTuple):
    """What a Mamba-2 path remembers; constant in size."""

    conv_BEK: Tensor
    """The last d_conv - 1 inputs of the convolution, over the channels of x, B and C."""
    scan_BHPN: Tensor
    """The state-space state, float32."""


class Mamba2(nn.Module):
    """One Mamba-2 mixer: width D in, width D out; no residual. The norm inside belongs to the published layer."""

    operations = ("causal_conv", "softplus", "ssd", "gated_skip")
    """Operations with compiled kernels that it calls."""
    state_type = Mamba2State

    def __init__(self, dim: int, *, expand: int, d_state: int, d_conv: int, head_dim: int = 0, groups: int = 1) -> None:
        super().__init__()
        expanded = expand * dim
        self.d_state, self.head_channels, self.groups = d_state, head_dim or head_channels(expanded), groups
        heads = expanded // self.head_channels
        convolved = expanded + 2 * groups * d_state
        self.in_proj = Linear(dim, expanded + convolved + heads, bias=False)
        self.conv1d = nn.Conv1d(convolved, convolved, d_conv, groups=convolved, padding=d_conv - 1)
        self.dt_bias = nn.Parameter(torch.zeros(heads))
        self.A_log = nn.Parameter(torch.zeros(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = RmsNorm(expanded, groups=groups)
        self.out_proj = Linear(expanded, dim, bias=False)
        for parameter in (self.A_log, self.D, self.dt_bias):
            exempt_from_weight_decay(parameter)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Start A uniform in [-16, -1], D at 1 and dt log-uniform in [0.001, 0.1], as published."""
        with torch.no_grad():
            self.A_log.copy_(torch.empty(self.A_log.shape).uniform_(A_MIN, A_MAX, generator=generator).log())
            self.D.fill_(1.0)
            self.dt_bias.copy_(draw_dt_bias(self.dt_bias.numel(), generator))

    def forward(
        self, u_BTD: Activations, *, state: Mamba2State | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, Mamba2State]:
        """Return the output [B, T, D] and the state after the last token. T = 1 is one step of generation."""
        conv_BEK, scan_BHPN = (None, None) if state is None else state
        channels = self.channels(u_BTD, conv_BEK=conv_BEK, resets_BT=resets_BT)
        y_BTE, scan_BHPN = self.scan(channels, scan_BHPN, resets_BT=resets_BT)
        return self.out_proj(self.gated(y_BTE, channels)), Mamba2State(channels.conv_BEK, scan_BHPN)

    def channels(
        self, u_BTD: Activations, *, conv_BEK: Tensor | None = None, resets_BT: Resets | None = None
    ) -> InnerChannels:
        """Return the inner channels x behind the convolution, the gate z, its last inputs, and B, C and dt."""
        expanded, convolved = self.out_proj.in_features, self.conv1d.in_channels
        # B and C apart from x, so that no kernel meets a slice of either, nor has to join their gradients.
        sizes = [expanded, convolved - expanded]
        gate_BTE, x_BTE, BC_BTF, dt_BTH = self.in_proj.parts(u_BTD, [expanded, *sizes, self.A_log.numel()])
        assert self.conv1d.bias is not None, "it is made with one"
        weights = self.conv1d.weight.squeeze(1).split(sizes), self.conv1d.bias.split(sizes)
        states = (None, None) if conv_BEK is None else conv_BEK.split(sizes, dim=1)
        (x_BTE, conv_x), (BC_BTF, conv_BC) = (
            causal_conv(part, weight, bias, state_BEK=state, resets_BT=resets_BT)
            for part, weight, bias, state in zip((x_BTE, BC_BTF), *weights, states, strict=True)
        )
        B_BTN, C_BTN = BC_BTF.chunk(2, dim=-1)
        return InnerChannels(x_BTE, gate_BTE, torch.cat([conv_x, conv_BC], dim=1), (B_BTN, C_BTN, dt_BTH))

    def scan(
        self,
        channels: InnerChannels,
        scan_BHPN: Tensor | None = None,
        *,
        resets_BT: Resets | None = None,
        selecting_BTS: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return C h [B, T, E], on a GPU with the skip D x, and the state h after the last token.

        Args:
            channels: what `channels` returned.
            scan_BHPN: h before the first token.
            resets_BT: where documents start.
            selecting_BTS: numbers on the first S channels, whose sum over a head is added to its step size before
                the softplus.
        """
        heads = self.A_log.numel()
        B_BTN, C_BTN, dt_BTH = channels.rest
        if selecting_BTS is not None:
            missing = -selecting_BTS.shape[-1] % self.head_channels
            of_heads = functional.pad(selecting_BTS, (0, missing)).unflatten(-1, (-1, self.head_channels)).sum(-1)
            dt_BTH = dt_BTH + functional.pad(of_heads, (0, heads - of_heads.shape[-1]))
        x_BTHP = channels.x_BTE.unflatten(-1, (heads, self.head_channels))
        delta_BTH = softplus(dt_BTH + self.dt_bias)
        y_BTHP, scan_BHPN = self._scan_groups(x_BTHP, delta_BTH, B_BTN, C_BTN, scan_BHPN, resets_BT)
        return y_BTHP.flatten(2), scan_BHPN

    def read(self, y_BTE: Tensor, channels: InnerChannels, first: int, last: int) -> Tensor:
        """Return C h of the channels from the first up to the last, without gradients, of what `scan` returned."""
        y_BTS = y_BTE[..., first:last].detach()
        if not _skips_in_scan(y_BTE):
            return y_BTS
        skip_S = self.D.detach().repeat_interleave(self.head_channels)[first:last]
        return y_BTS - (skip_S * channels.x_BTE[..., first:last].detach()).to(y_BTS.dtype)

    def gated(self, y_BTE: Tensor, channels: InnerChannels) -> Tensor:
        """Return what the last product reads, [B, T, E]: norm((C h + D x) silu(z))."""
        if _skips_in_scan(y_BTE):
            return gated_norm(y_BTE, channels.gate_BTE, self.norm.weight, eps=self.norm.eps, groups=self.norm.groups)
        skip_E = self.D.repeat_interleave(self.head_channels)
        return self.norm(gated_skip(y_BTE, channels.x_BTE, skip_E, channels.gate_BTE))

    def _scan_groups(
        self,
        x_BTHP: Tensor,
        delta_BTH: Tensor,
        B_BTN: Tensor,
        C_BTN: Tensor,
        scan_BHPN: Tensor | None,
        resets_BT: Resets | None,
    ) -> tuple[Tensor, Tensor]:
        """Scan the heads of each group with its own part of B and C [B, T, G N]; return y and the state."""
        A_H, skip_H = -torch.exp(self.A_log), self.D if _skips_in_scan(x_BTHP) else None
        if self.groups == 1:
            return ssd(
                *(x_BTHP, delta_BTH, A_H, B_BTN, C_BTN), skip_H=skip_H, state_BHPN=scan_BHPN, resets_BT=resets_BT
            )
        states = [None] * self.groups if scan_BHPN is None else scan_BHPN.chunk(self.groups, dim=1)
        by_group = zip(
            x_BTHP.chunk(self.groups, dim=2),
            delta_BTH.chunk(self.groups, dim=2),
            A_H.chunk(self.groups),
            B_BTN.chunk(self.groups, dim=-1),
            C_BTN.chunk(self.groups, dim=-1),
            [None] * self.groups if skip_H is None else skip_H.chunk(self.groups),
            states,
            strict=True,
        )
        scanned = [
            ssd(
                *(part.contiguous() for part in parts),
                skip_H=skip,
                state_BHPN=None if state is None else state.contiguous(),
                resets_BT=resets_BT,
            )
            for *parts, skip, state in by_group
        ]
        ys, new_states = zip(*scanned, strict=True)
        return torch.cat(ys, dim=2), torch.cat(new_states, dim=1)

    def cost(self) -> ComponentCost:
        """Return what the mixer costs as a recurrence, as the CPU runs it; products over chunks of tokens take more."""
        expanded, taps = self.out_proj.in_features, self.conv1d.weight.numel()
        return ComponentCost(
            name="Mamba",
            parameters=num_parameters(self),
            dense_macs_per_token=macs(self.in_proj, self.out_proj),
            state_updates_per_token=float(taps + 3 * expanded * self.d_state + 2 * expanded),
            state_numbers=taps - self.conv1d.in_channels + expanded * self.d_state,
        )


def _skips_in_scan(x: Tensor) -> bool:
    """Return whether the skip is part of the scan and the gate of the norm: on a GPU, where each saves a pass."""
    return x.device.type != "cpu"


def head_channels(expanded: int) -> int:
    """Return the channels P of a head: 64 as published, or else the largest divisor of E below it."""
    return max(channels for channels in range(1, MAX_HEAD_CHANNELS + 1) if expanded % channels == 0)
