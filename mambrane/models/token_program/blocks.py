"""Each kind of block as instructions, for one token."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from mambrane.kernels.vectors import LANES
from mambrane.layers.adapter import RATE_WINDOW_TOKENS, SpikeAdapter, SpikeCode
from mambrane.layers.attention import WindowedCrossAttention
from mambrane.layers.liquid import CfcCell, LiquidPopulation, LtcCell
from mambrane.layers.path_gate import PathGate
from mambrane.layers.spiking import SpikingPopulation
from mambrane.models.block import MixerBlock
from mambrane.models.blocks.hybrid import INPUT_GAIN, HybridBlock
from mambrane.models.blocks.spiking import SpikingBlock
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.layout import Layout
from mambrane.models.token_program.mixers import mixer_of


def write_block(layout: Layout, block: nn.Module, x: int) -> None:
    """Write what a block does to the residual stream at x, in place."""
    if isinstance(block, HybridBlock):
        _hybrid(layout, block, x)
    elif isinstance(block, MixerBlock):
        dim = block.norm.weight.numel()
        mixer = mixer_of(layout, block.mixer, layout.norm(block.norm, x, dim))
        layout.emit(vp.ADD, x, x, layout.linear(block.mixer.out_proj, mixer.finish(mixer.scan(None, 0))), dim)
    else:
        assert isinstance(block, SpikingBlock), "why_no_program has looked"
        _spiking(layout, block, x)


def _hybrid(layout: Layout, block: HybridBlock, x: int) -> None:
    dim, units, second_units = block.norm.weight.numel(), block.first_bias.numel(), block.second_bias.numel()
    u = layout.norm(block.norm, x, dim)
    mixer = mixer_of(layout, block.mixer, u)
    current = layout.space(units)
    layout.emit(vp.AFFINE, current, mixer.x, layout.constant(INPUT_GAIN), layout.constant(block.first_bias), units)
    first_state, second_state = layout.state_of(units), layout.state_of(second_units)
    first = _population(layout, block.first, [current] * block.ticks.per_token, first_state)
    code = _code(layout, block.code, first)
    selecting = None
    if block.mode != "parallel":
        selecting = layout.space(units)
        select = layout.constant(block.spikes_select)
        layout.emit(vp.MULTIPLY_ADD, selecting, select, code, vp.NOWHERE, units)
    y = mixer.scan(selecting, units)
    second = _second(layout, block, first, y, second_state)

    q = mixer.finish(y)
    mamba = layout.linear(block.mixer.out_proj, q)
    numbers = block.spikes_out.numel()
    spikes = read = second
    if block.mode != "sequential":
        spikes, read = (_joined(layout, part, units, second, second_units) for part in (first.mean(), code))
    s = layout.space(numbers)
    gate, out = layout.constant(block.spikes_gate), layout.constant(block.spikes_out)
    layout.emit(vp.READ_OUT, s, gate, spikes, q, out, read, numbers)
    columns = block.mixer.out_proj.in_features
    spiking = layout.product_into(layout.matrix(block.mixer.out_proj.weight), s, dim, numbers, of=columns)
    if block.uses_attention:
        normed_read, normed_mamba = layout.norm(None, read, numbers), layout.norm(None, mamba, dim)
        for path, attention, query, key in (
            (spiking, block.spiking_reads_mamba, normed_read, normed_mamba),
            (mamba, block.mamba_reads_spiking, normed_mamba, normed_read),
        ):
            layout.emit(vp.ADD, path, path, _attention(layout, attention, query, key), dim)
    _gate(layout, block.path_gate, spiking, u, dim)
    layout.emit(vp.ADD, x, x, mamba, dim)
    layout.emit(vp.ADD, x, x, spiking, dim)


def _second(layout: Layout, block: HybridBlock, first: "_Ticks", y: int, state: int) -> int:
    units, second_units = block.first_bias.numel(), block.second_bias.numel()
    heard, decay, scale = vp.NOWHERE, None, vp.NOWHERE
    if block.mode != "parallel":
        heard = layout.space(second_units)
        listen = layout.constant(block.mamba_to_second)
        layout.emit(vp.MULTIPLY_ADD, heard, listen, y + units, vp.NOWHERE, second_units)
    if block.mode == "bidirectional":
        scale, decay = layout.space(second_units), layout.space(second_units)
        layout.emit(vp.SIGMOID, scale, heard, layout.constant(0.5), second_units)
        if isinstance(block.second, SpikingPopulation):
            tau = layout.constant(block.second.log_tau.exp())
            layout.emit(vp.DECAY, decay, tau, scale, second_units)
    matrix = layout.matrix(block.plastic.weight)
    bias = layout.constant(block.second_bias, multiple=vp.PANEL_ROWS)
    currents = []
    for tick in first.ticks():
        current = layout.product_into(matrix, tick, second_units, units, bias=bias)
        if block.mode == "sequential":
            layout.emit(vp.ADD, current, current, heard, second_units)
        currents.append(current)
    if isinstance(block.second, LiquidPopulation):
        return _liquid(layout, block.second, currents, state, scale).mean()
    return _population(layout, block.second, currents, state, decay=decay).mean()


def _spiking(layout: Layout, block: SpikingBlock, x: int) -> None:
    dim, (units, _) = block.norm.weight.numel(), block.input.weight.shape
    current = layout.linear(block.input, layout.norm(block.norm, x, dim))
    second_units = block.plastic.out_features
    first_state, second_state = layout.state_of(units), layout.state_of(second_units)
    first = _population(layout, block.first, [current] * block.ticks.per_token, first_state)
    assert isinstance(block.adapter, SpikeAdapter), "a spiking block has one"
    path = layout.linear(block.adapter.projection, _code(layout, block.adapter, first))
    matrix = layout.matrix(block.plastic.weight)
    currents = [layout.product_into(matrix, tick, second_units, units) for tick in first.ticks()]
    if isinstance(block.second, LiquidPopulation):
        second = _liquid(layout, block.second, currents, second_state, vp.NOWHERE).mean()
    else:
        second = _population(layout, block.second, currents, second_state).mean()
    layout.emit(vp.ADD, path, path, layout.linear(block.readout, second), dim)
    layout.emit(vp.ADD, x, x, layout.linear(block.output, layout.norm(block.spiking_norm, path, dim)), dim)


def _population(
    layout: Layout, population: SpikingPopulation, currents: Sequence[int], state: int, *, decay: int | None = None
) -> "_Ticks":
    """Let a population go through its ticks; `decay` is where its time constants are steered."""
    units = population.log_tau.numel()
    if decay is None:
        decay = layout.constant(torch.exp(-1.0 / population.log_tau.exp()))
    threshold = layout.constant(population.options["threshold"])
    subtracts = int(population.options["reset"] == "subtract")
    width = -(-units // LANES) * LANES
    spikes, membrane = layout.space(len(currents) * width), layout.space(units)
    for tick, current in enumerate(currents):
        layout.emit(vp.LIF, spikes + tick * width, membrane, current, decay, state, threshold, subtracts, units)
    return _Ticks(layout, spikes, membrane, units, len(currents))


def _liquid(layout: Layout, population: LiquidPopulation, currents: Sequence[int], state: int, scale: int) -> "_Ticks":
    """Let liquid cells go through their ticks; `scale` is where their time constants are steered."""
    units = population.units
    width = -(-units // LANES) * LANES
    hidden = layout.space(len(currents) * width)
    cell = population.cell
    if isinstance(cell, CfcCell):
        take_tick = _cfc(layout, cell, units, state, scale)
    else:
        take_tick = _ltc(layout, cell, units, state, scale)
    for tick, current in enumerate(currents):
        take_tick(hidden + tick * width, current)
    return _Ticks(layout, hidden, vp.NOWHERE, units, len(currents))


def _cfc(layout: Layout, cell: CfcCell, units: int, state: int, scale: int) -> Callable[[int, int], None]:
    """Return what writes a tick of a CfC cell, from a current to its output."""
    weight, inner = cell.backbone.weight, cell.backbone.out_features
    inputs = weight.shape[1] - units
    of_input, of_state = layout.matrix(weight[:, :inputs]), layout.matrix(weight[:, inputs:])
    bias = layout.constant(cell.backbone.bias, multiple=vp.PANEL_ROWS)
    heads = (cell.ff1, cell.ff2, cell.time_a, cell.time_b)
    of_heads = layout.matrix(torch.cat([head.weight for head in heads]))
    bias_of_heads = layout.constant(torch.cat([head.bias for head in heads]), multiple=vp.PANEL_ROWS)
    backbone = layout.space(inner)

    def take_tick(out: int, current: int) -> None:
        from_input = layout.product_into(of_input, current, inner, inputs, bias=bias)
        from_state = layout.product_into(of_state, state, inner, units)
        layout.emit(vp.CFC_BACKBONE, backbone, from_input, from_state, inner)
        said = layout.product_into(of_heads, backbone, 4 * units, inner, bias=bias_of_heads)
        layout.emit(vp.CFC, out, said, scale, state, units)

    return take_tick


def _ltc(layout: Layout, cell: LtcCell, units: int, state: int, scale: int) -> Callable[[int, int], None]:
    """Return what writes a tick of an LTC cell, from a current to its output."""
    p, inputs = cell.positive_weights(), cell.input_weight.numel()
    gain, bias, u = layout.constant(p.input_weight), layout.constant(p.input_bias), layout.space(inputs)
    sensory = layout.rows(torch.cat([p.sensory_w, p.sensory_mu, p.sensory_sigma, p.sensory_erev]))
    recurrent = layout.rows(torch.cat([p.w, p.mu, p.sigma, p.erev]))
    of_cell = layout.rows(torch.stack([p.cm, p.gleak * p.vleak, p.gleak]))
    heard = layout.space(4 * (-(-units // LANES) * LANES))

    def take_tick(out: int, current: int) -> None:
        layout.emit(vp.MULTIPLY_ADD, u, gain, current, bias, inputs)
        layout.emit(vp.LTC, out, u, state, sensory, recurrent, of_cell, scale, heard, inputs, units)

    return take_tick


def _code(layout: Layout, code: SpikeCode, spikes: "_Ticks") -> int:
    if code.method == "potential":
        return layout.norm(None, spikes.membrane, spikes.units)
    if code.method == "temporal":
        trace, decay = layout.state_of(spikes.units), layout.constant(code.temporal_decay)
        for tick in spikes.ticks():
            layout.emit(vp.TRACE, trace, tick, decay, spikes.units)
        return trace
    taps = RATE_WINDOW_TOKENS
    state = layout.state_of(spikes.units, taps - 1, order=(1, 0))
    weight, out = layout.rows(torch.full((taps, spikes.units), 1.0 / taps)), layout.space(spikes.units)
    layout.emit(vp.CONVOLVE, out, spikes.mean(), state, weight, vp.NOWHERE, spikes.units, taps, 0)
    return out


def _joined(layout: Layout, first: int, first_size: int, second: int, second_size: int) -> int:
    """Return two vectors as one."""
    out, nothing = layout.space(first_size + second_size + LANES), layout.constant([0.0] * max(first_size, second_size))
    layout.emit(vp.ADD, out, first, nothing, first_size)
    # The second is written behind the first, over what stands behind the first in its last vector.
    layout.emit(vp.ADD, out + first_size, second, nothing, second_size)
    return out


def _attention(layout: Layout, attention: WindowedCrossAttention, query: int, key: int) -> int:
    size, window = attention.output.in_features, attention.window
    read, keys = layout.space(size), layout.cache_of(window, size)
    query, key_value = layout.linear(attention.query, query), layout.linear(attention.key_value, key)
    layout.emit(vp.ATTEND, read, query, key_value, keys, window, attention.heads, size)
    return layout.linear(attention.output, read)


def _gate(layout: Layout, gate: PathGate, path: int, u: int, dim: int) -> None:
    heads = gate.bias.numel()
    channels = dim // heads
    if gate.weight is None:
        factors = layout.constant(torch.sigmoid(gate.bias.detach()))
    else:
        dots, factors = layout.space(heads), layout.space(heads)
        weight, bias = layout.constant(gate.weight), layout.constant(gate.bias)
        layout.emit(vp.HEAD_DOT, dots, weight, u, bias, heads, channels)
        layout.emit(vp.SIGMOID, factors, dots, layout.constant(0.0), heads)
    layout.emit(vp.HEAD_SCALE, path, factors, heads, channels)


class _Ticks:
    """What a population says at each tick of a token: spikes, or the states of liquid cells."""

    def __init__(self, layout: Layout, start: int, membrane: int, units: int, num_ticks: int) -> None:
        self._layout, self._start, self._num_ticks = layout, start, num_ticks
        self.membrane, self.units = membrane, units

    def ticks(self) -> Iterator[int]:
        """Yield where those of each tick are."""
        width = -(-self.units // LANES) * LANES
        return (self._start + tick * width for tick in range(self._num_ticks))

    def mean(self) -> int:
        """Return the mean over the ticks."""
        if self._num_ticks == 1:
            return self._start
        out = self._layout.space(self.units)
        self._layout.emit(vp.MEAN, out, self._start, self._num_ticks, self.units)
        return out
