"""The two Mamba layers as instructions, each in its three phases."""

from typing import Any

import torch
from torch import Tensor, nn

from mambrane.kernels.vectors import LANES
from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.layout import Layout


class FirstMixer:
    """Mamba, version 1, in its three phases."""

    def __init__(self, layout: Layout, mixer: Mamba, u: int) -> None:
        self._layout, self._mixer = layout, mixer
        self._size, taps = mixer.out_proj.in_features, mixer.conv1d.weight.shape[-1]
        both = layout.linear(mixer.in_proj, u)
        self._gate = both + self._size
        conv, self._scan_state = (
            layout.state_of(self._size, width, order=(1, 0)) for width in (taps - 1, mixer.d_state)
        )
        self.x = _convolved(layout, mixer.conv1d, both, conv)

    def scan(self, selecting: int | None, units: int) -> int:
        """Return C h; `selecting` stands on the first `units` channels."""
        layout, mixer, size, states = self._layout, self._mixer, self._size, self._mixer.d_state
        read = self.x
        if selecting is not None:
            read = layout.space(size)
            layout.emit(vp.ADD, read, self.x, layout.constant([0.0] * size), size)
            layout.emit(vp.ADD, read, read, selecting, units)
        dtBC = layout.linear(mixer.x_proj, read)
        delta = layout.space(size)
        layout.emit(vp.SOFTPLUS, delta, layout.linear(mixer.dt_proj, dtBC), vp.NOWHERE, size)
        A, y = layout.rows(-torch.exp(mixer.A_log.detach()).T), layout.space(size)
        B, C = dtBC + mixer.dt_rank, dtBC + mixer.dt_rank + states
        layout.emit(vp.SCAN, y, self.x, delta, A, B, C, self._scan_state, size, states)
        return y

    def finish(self, y: int) -> int:
        """Return what the last product reads."""
        return _gated(self._layout, y, self.x, self._mixer.D, self._gate)


class SecondMixer:
    """Mamba, version 2, in its three phases."""

    def __init__(self, layout: Layout, mixer: Mamba2, u: int) -> None:
        self._layout, self._mixer = layout, mixer
        self._size, convolved = mixer.out_proj.in_features, mixer.conv1d.in_channels
        self._gate = layout.linear(mixer.in_proj, u)
        self._dt = self._gate + self._size + convolved
        heads, taps = mixer.A_log.numel(), mixer.conv1d.weight.shape[-1]
        conv = layout.state_of(convolved, taps - 1, order=(1, 0))
        self._scan_state = layout.state_of(heads, mixer.head_channels, mixer.d_state, order=(0, 2, 1))
        self.x = _convolved(layout, mixer.conv1d, self._gate + self._size, conv)

    def scan(self, selecting: int | None, units: int) -> int:
        """Return C h; `selecting` stands on the first `units` channels."""
        layout, mixer = self._layout, self._mixer
        heads, channels, states = mixer.A_log.numel(), mixer.head_channels, mixer.d_state
        dt, delta, y = self._dt, layout.space(heads), layout.space(self._size)
        if selecting is not None:
            dt = layout.space(heads)
            layout.emit(vp.ADD, dt, self._dt, layout.constant([0.0] * heads), heads)
            layout.emit(vp.HEAD_SUM, dt, selecting, channels, units)
        layout.emit(vp.SOFTPLUS, delta, dt, layout.constant(mixer.dt_bias), heads)
        A, own = layout.constant(-torch.exp(mixer.A_log.detach())), heads // mixer.groups
        state_size = own * states * (-(-channels // LANES) * LANES)
        for group in range(mixer.groups):
            start, head = group * own * channels, group * own
            B = self.x + self._size + group * states
            layout.emit(
                vp.SSD, y + start, self.x + start, delta + head, A + head, B, B + mixer.groups * states,
                self._scan_state + group * state_size, own, channels, states,
            )  # fmt: skip
        return y

    def finish(self, y: int) -> int:
        """Return what the last product reads."""
        skip = self._mixer.D.detach().repeat_interleave(self._mixer.head_channels)
        gated = _gated(self._layout, y, self.x, skip, self._gate)
        return self._layout.norm(self._mixer.norm, gated, self._size)


Mixer = FirstMixer | SecondMixer


def _convolved(layout: Layout, conv: nn.Conv1d, x: int, state: int) -> int:
    size, taps = conv.in_channels, conv.weight.shape[-1]
    assert conv.bias is not None, "it is made with one"
    weight, bias, out = layout.rows(conv.weight[:, 0].T), layout.constant(conv.bias), layout.space(size)
    layout.emit(vp.CONVOLVE, out, x, state, weight, bias, size, taps, 1)
    return out


def _gated(layout: Layout, y: int, x: int, skip: Tensor, gate: int) -> int:
    out = layout.space(skip.numel())
    layout.emit(vp.GATE_SKIP, out, y, x, layout.constant(skip), gate, skip.numel())
    return out


def mixer_of(layout: Layout, mixer: Any, u: int) -> Mixer:  # noqa: ANN401 -- one of the two
    """Begin a mixer that reads a vector."""
    return FirstMixer(layout, mixer, u) if isinstance(mixer, Mamba) else SecondMixer(layout, mixer, u)
