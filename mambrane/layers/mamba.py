"""Mamba, version 1: a selective state-space path (S6).

    (x, z) = W_in u      x = silu(conv(x))      (dt, B, C) = W_x x      delta = softplus(W_dt dt + b_dt)
    h[t] = exp(delta A) h[t-1] + delta B x      y = C h + D x           out = W_out (y silu(z))

Parameter names, shapes and arithmetic are the published ones, so published weights load and logits agree.
The phases of a call, `channels`, `scan` and `gated`, can be called by themselves: between them spikes read the inner
channels and act on them (models/blocks/hybrid.py).
Source: Gu & Dao 2023, Mamba, arXiv 2312.00752, section 3 and appendix C; initialisation from their mamba_simple.py.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambrane.core.shapes import Activations, Resets
from mambrane.core.weight_decay import exempt_from_weight_decay
from mambrane.layers.cost import ComponentCost, macs, num_parameters
from mambrane.layers.elementwise import softplus
from mambrane.layers.linear import Linear
from mambrane.ops.causal_conv import causal_conv
from mambrane.ops.gated_skip import gated_skip
from mambrane.ops.selective_scan import selective_scan

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4


def draw_dt_bias(size: int, generator: torch.Generator) -> Tensor:
    """Return a bias [size] whose softplus, the step size at the start, is log-uniform in [0.001, 0.1]."""
    uniform = torch.rand(size, generator=generator)
    dt = torch.exp(uniform * (math.log(DT_MAX) - math.log(DT_MIN)) + math.log(DT_MIN)).clamp(min=DT_FLOOR)
    # Inverse of softplus.
    return dt + torch.log(-torch.expm1(-dt))


class MambaState(NamedTuple):
    """What a Mamba path remembers; constant in size."""

    conv_BEK: Tensor
    """The last d_conv - 1 inputs of the convolution."""
    scan_BEN: Tensor
    """The state-space state, float32."""


class InnerChannels(NamedTuple):
    """The E inner channels of a Mamba before its scan."""

    x_BTE: Tensor
    """Behind convolution and SiLU."""
    gate_BTE: Tensor
    """The gate z."""
    conv_BEK: Tensor
    """The last inputs of the convolution."""
    rest: tuple[Tensor, ...] = ()
    """What version 2 projects beside them: B, C and dt."""


class Mamba(nn.Module):
    """One Mamba mixer: width D in, width D out; no norm, no residual."""

    operations = ("causal_conv", "softplus", "selective_scan", "gated_skip")
    """Operations with compiled kernels that it calls."""
    state_type = MambaState

    def __init__(self, dim: int, *, expand: int, d_state: int, d_conv: int, dt_rank: int) -> None:
        super().__init__()
        expanded = expand * dim
        self.dt_rank, self.d_state = dt_rank, d_state
        self.in_proj = Linear(dim, 2 * expanded, bias=False)
        self.conv1d = nn.Conv1d(expanded, expanded, d_conv, groups=expanded, padding=d_conv - 1)
        self.x_proj = Linear(expanded, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = Linear(dt_rank, expanded)
        self.A_log = nn.Parameter(torch.empty(expanded, d_state))
        self.D = nn.Parameter(torch.ones(expanded))
        self.out_proj = Linear(expanded, dim, bias=False)
        for parameter in (self.A_log, self.D, self.dt_proj.bias):
            exempt_from_weight_decay(parameter)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Start A at -1..-N (S4D-real), D at 1 and dt log-uniform in [0.001, 0.1], as published."""
        expanded, d_state = self.A_log.shape
        with torch.no_grad():
            self.A_log.copy_(torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).expand(expanded, -1))
            self.D.fill_(1.0)
            bound = self.dt_rank**-0.5
            self.dt_proj.weight.uniform_(-bound, bound, generator=generator)
            self.dt_proj.bias.copy_(draw_dt_bias(expanded, generator))

    def forward(
        self, u_BTD: Activations, *, state: MambaState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, MambaState]:
        """Return the output [B, T, D] and the state after the last token. T = 1 is one step of generation."""
        conv_BEK, scan_BEN = (None, None) if state is None else state
        channels = self.channels(u_BTD, conv_BEK=conv_BEK, resets_BT=resets_BT)
        y_BTE, scan_BEN = self.scan(channels, scan_BEN, resets_BT=resets_BT)
        return self.out_proj(self.gated(y_BTE, channels)), MambaState(channels.conv_BEK, scan_BEN)

    def channels(
        self, u_BTD: Activations, *, conv_BEK: Tensor | None = None, resets_BT: Resets | None = None
    ) -> InnerChannels:
        """Return the inner channels x behind the convolution, the gate z, and the convolution's last inputs."""
        x_BTE, gate_BTE = self.in_proj.parts(u_BTD, [self.out_proj.in_features] * 2)
        assert self.conv1d.bias is not None, "it is made with one"
        x_BTE, conv_BEK = causal_conv(
            x_BTE, self.conv1d.weight.squeeze(1), self.conv1d.bias, state_BEK=conv_BEK, resets_BT=resets_BT
        )
        return InnerChannels(x_BTE, gate_BTE, conv_BEK)

    def scan(
        self,
        channels: InnerChannels,
        scan_BEN: Tensor | None = None,
        *,
        resets_BT: Resets | None = None,
        selecting_BTS: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return C h [B, T, E] and the state h after the last token.

        Args:
            channels: what `channels` returned.
            scan_BEN: h before the first token.
            resets_BT: where documents start.
            selecting_BTS: what is added to the first S channels where step size, B and C are read from them, and
                nowhere else.
        """
        read_BTE = channels.x_BTE
        if selecting_BTS is not None:
            read_BTE = read_BTE + functional.pad(selecting_BTS, (0, read_BTE.shape[-1] - selecting_BTS.shape[-1]))
        dt_BTR, B_BTN, C_BTN = self.x_proj(read_BTE).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta_BTE = softplus(self.dt_proj(dt_BTR))
        A_EN = -torch.exp(self.A_log)
        return selective_scan(channels.x_BTE, delta_BTE, A_EN, B_BTN, C_BTN, state_BEN=scan_BEN, resets_BT=resets_BT)

    def read(self, y_BTE: Tensor, channels: InnerChannels, first: int, last: int) -> Tensor:
        """Return C h of the channels from the first up to the last, without gradients, of what `scan` returned."""
        return y_BTE[..., first:last].detach()

    def gated(self, y_BTE: Tensor, channels: InnerChannels) -> Tensor:
        """Return what the last product reads, [B, T, E]: (y + D x) silu(z)."""
        return gated_skip(y_BTE, channels.x_BTE, self.D, channels.gate_BTE)

    def cost(self) -> ComponentCost:
        """Return what the mixer costs."""
        expanded, d_state = self.A_log.shape
        taps = self.conv1d.weight.numel()
        return ComponentCost(
            name="Mamba",
            parameters=num_parameters(self),
            dense_macs_per_token=macs(self.in_proj, self.x_proj, self.dt_proj, self.out_proj),
            state_updates_per_token=float(taps + 3 * expanded * d_state + 2 * expanded),
            state_numbers=taps - expanded + expanded * d_state,
        )
