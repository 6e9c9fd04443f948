"""Mamba, version 2: a state-space path with one decay for each head (SSD).

    (z, x, B, C, dt) = W_in u      (x, B, C) = silu(conv(x, B, C))      delta = softplus(dt + b_dt)
    h[t] = exp(delta A) h[t-1] + delta x B^T      y = h C + D x         out = W_out norm(y silu(z))

for each of H heads of P channels; delta, A and D are one number for each head, B and C are shared by the heads of a
group, of which there is one as a rule; with several, the norm is over each group too.
Parameter names, shapes and arithmetic are the published ones (RMSNorm behind the gate, `norm_before_gate=False`).
`B_extra` and `C_extra` are added to B and C behind the convolution: this is how spikes modulate what Mamba writes
and reads.
Source: Dao & Gu 2024, Transformers are SSMs, arXiv 2405.21060, section 7; initialisation from their mamba2.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambrane.core.shapes import Activations, Resets
from mambrane.core.weight_decay import exempt_from_weight_decay
from mambrane.layers.cost import ComponentCost, macs, num_parameters
from mambrane.layers.elementwise import softplus
from mambrane.layers.linear import Linear
from mambrane.layers.mamba import draw_dt_bias
from mambrane.layers.norm import RmsNorm
from mambrane.ops.causal_conv import causal_conv
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

    operations = ("causal_conv", "ssd", "gated_skip")
    """Operations with compiled kernels that it calls."""

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
        self,
        u_BTD: Activations,
        *,
        state: Mamba2State | None = None,
        resets_BT: Resets | None = None,
        B_extra_BTN: Tensor | None = None,
        C_extra_BTN: Tensor | None = None,
    ) -> tuple[Activations, Mamba2State]:
        """Return the output [B, T, D] and the state after the last token. T = 1 is one step of generation."""
        expanded, heads = self.out_proj.in_features, self.A_log.numel()
        convolved = self.conv1d.in_channels
        gate_BTE, xBC_BTE, dt_BTH = self.in_proj.parts(u_BTD, [expanded, convolved, heads])
        conv_BEK, scan_BHPN = (None, None) if state is None else state
        assert self.conv1d.bias is not None, "it is made with one"
        xBC_BTE, conv_BEK = causal_conv(
            xBC_BTE, self.conv1d.weight.squeeze(1), self.conv1d.bias, state_BEK=conv_BEK, resets_BT=resets_BT
        )
        x_BTE, *shared = xBC_BTE.split([expanded, *[self.d_state] * (2 * self.groups)], dim=-1)
        extras = (B_extra_BTN, C_extra_BTN)
        written, read = (
            [each if extra is None else each + extra for each in part]
            for part, extra in zip((shared[: self.groups], shared[self.groups :]), extras, strict=True)
        )
        x_BTHP = x_BTE.unflatten(-1, (heads, self.head_channels))
        delta_BTH = softplus(dt_BTH + self.dt_bias)
        y_BTHP, scan_BHPN = self._scan(x_BTHP, delta_BTH, written, read, scan_BHPN, resets_BT)
        skip_E = self.D.repeat_interleave(self.head_channels)
        y_BTE = gated_skip(y_BTHP.flatten(2), x_BTE, skip_E, gate_BTE)
        return self.out_proj(self.norm(y_BTE)), Mamba2State(conv_BEK, scan_BHPN)

    def _scan(
        self,
        x_BTHP: Tensor,
        delta_BTH: Tensor,
        written: Sequence[Tensor],
        read: Sequence[Tensor],
        scan_BHPN: Tensor | None,
        resets_BT: Resets | None,
    ) -> tuple[Tensor, Tensor]:
        """Scan each group of heads with its own B and C; return y and the state of all heads."""
        A_H = -torch.exp(self.A_log)
        if self.groups == 1:
            return ssd(x_BTHP, delta_BTH, A_H, written[0], read[0], state_BHPN=scan_BHPN, resets_BT=resets_BT)
        heads = self.A_log.numel() // self.groups
        parts = []
        for group, (B_BTN, C_BTN) in enumerate(zip(written, read, strict=True)):
            own = slice(group * heads, (group + 1) * heads)
            state = None if scan_BHPN is None else scan_BHPN[:, own]
            parts.append(
                ssd(
                    x_BTHP[:, :, own].contiguous(),
                    delta_BTH[:, :, own].contiguous(),
                    A_H[own],
                    B_BTN,
                    C_BTN,
                    state_BHPN=None if state is None else state.contiguous(),
                    resets_BT=resets_BT,
                )
            )
        ys, states = zip(*parts, strict=True)
        return torch.cat(ys, dim=2), torch.cat(states, dim=1)

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


def head_channels(expanded: int) -> int:
    """Return the channels P of a head: 64 as published, or else the largest divisor of E below it."""
    return max(channels for channels in range(1, MAX_HEAD_CHANNELS + 1) if expanded % channels == 0)
