"""What a model costs, part by part: parameters, multiply-accumulates, additions that spikes turn them into.

A matrix product that reads exactly {0, 1} needs no multiplication: each spike adds one row of weights. Those products
(plastic synapse, and read-out of a spiking second population) are counted as synaptic operations at the measured
firing rate; every other product reads dense numbers and is counted as multiply-accumulates (MACs), as executed.
Neuron and state updates are counted apart. One MAC is two FLOPs; a backward pass costs twice a forward pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from mambrane.layers.liquid import CfcCell
from mambrane.layers.mamba2 import Mamba2
from mambrane.layers.spiking import SpikingPopulation
from mambrane.models.block import HybridBlock
from mambrane.models.language_model import LanguageModel
from mambrane.ops.ltc import NUM_UNFOLDS
from mambrane.ops.ssd import CHUNK_TOKENS


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Cost of one part of the model, over all blocks; figures per token and forward pass."""

    name: str
    parameters: int
    dense_macs_per_token: float
    """Multiply-accumulates that read dense numbers."""
    spike_macs_per_token: float = 0.0
    """Multiply-accumulates that read spikes, as executed by dense products."""
    synaptic_operations_per_token: float = 0.0
    """Additions that an event-driven machine would need instead, at the given firing rates."""
    state_updates_per_token: float = 0.0
    """Multiply-accumulates of neurons, traces, convolutions and scans."""

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of a forward pass as executed."""
        return 2.0 * (self.dense_macs_per_token + self.spike_macs_per_token + self.state_updates_per_token)


def account(model: LanguageModel, firing_rates: Sequence[tuple[float, float | None]] | None = None) -> list[Part]:
    """Return the cost of each part, blocks added up.

    Args:
        model: the model.
        firing_rates: for each block the spikes per neuron and tick of the first and the second population, as measured;
            None counts every neuron as always firing, which is the dense cost.
    """
    rates = firing_rates or [(1.0, 1.0)] * len(model.blocks)
    by_name: dict[str, list[Part]] = {}
    for block, (first_rate, second_rate) in zip(model.blocks, rates, strict=True):
        for part in _block_parts(block, first_rate, second_rate):
            by_name.setdefault(part.name, []).append(part)
    vocab_size, dim = model.embedding.weight.shape
    head = Part(
        name="embedding and head",
        parameters=vocab_size * dim + dim,
        dense_macs_per_token=float(vocab_size * dim),
    )
    return [*(_add(name, parts) for name, parts in by_name.items()), head]


def _block_parts(block: HybridBlock, first_rate: float, second_rate: float | None) -> Iterable[Part]:
    ticks = block.ticks.per_token
    units = block.input.out_features
    yield Part(
        name="first population",
        parameters=_size(block.input, block.first, block.norm),
        dense_macs_per_token=_macs(block.input),
        state_updates_per_token=2.0 * units * ticks,
    )
    yield Part(
        name="spike adapter",
        parameters=_size(block.adapter),
        dense_macs_per_token=_macs(block.adapter.projection),
        state_updates_per_token=1.0 * units * ticks,
    )
    yield Part(
        name="plastic synapse",
        parameters=_size(block.plastic),
        dense_macs_per_token=0.0,
        spike_macs_per_token=_macs(block.plastic) * ticks,
        synaptic_operations_per_token=_macs(block.plastic) * ticks * first_rate,
    )
    yield _second_part(block, second_rate)
    if block.mode == "spiking":
        yield Part(
            name="output", parameters=_size(block.output, block.spiking_norm), dense_macs_per_token=_macs(block.output)
        )
        return
    yield _mamba_part(block)
    if block.mode != "parallel":
        names = ["mamba_to_second"] if block.mode == "sequential" else ["spikes_to_B", "spikes_to_C", "mamba_to_tau"]
        couplings = [getattr(block, name) for name in names]
        yield Part(name="coupling", parameters=_size(*couplings), dense_macs_per_token=sum(map(_macs, couplings)))
    if block.uses_attention:
        attentions = (block.spiking_reads_mamba, block.mamba_reads_spiking)
        window, inner = attentions[0].window, attentions[0].query.out_features
        products = sum(_macs(layer) for a in attentions for layer in (a.query, a.key_value, a.output))
        yield Part(
            name="cross-attention",
            parameters=_size(*attentions),
            dense_macs_per_token=products + 2 * 2 * window * inner,
        )
    gate_macs = 0.0 if block.fusion.weight is None else block.fusion.weight.numel()
    yield Part(
        name="fusion and output",
        parameters=_size(block.fusion, block.output),
        dense_macs_per_token=gate_macs + _macs(block.output),
        state_updates_per_token=float(block.output.in_features),
    )


def _second_part(block: HybridBlock, second_rate: float | None) -> Part:
    """Count the second population with its read-out; a liquid cell's products are dense."""
    ticks, readout = block.ticks.per_token, _macs(block.readout)
    parameters = _size(block.second, block.readout)
    if isinstance(block.second, SpikingPopulation):
        # With several ticks the read-out sees their mean; executed once a token, event-driven once a spike.
        return Part(
            name="second population",
            parameters=parameters,
            dense_macs_per_token=0.0,
            spike_macs_per_token=readout,
            synaptic_operations_per_token=readout * ticks * (second_rate or 0.0),
            state_updates_per_token=2.0 * block.second.log_tau.numel() * ticks,
        )
    cell, units = block.second.cell, block.readout.in_features
    if isinstance(cell, CfcCell):
        cell_macs = sum(_macs(layer) for layer in (cell.backbone, cell.ff1, cell.ff2, cell.time_a, cell.time_b))
        updates = 2.0 * units
    else:
        # Each synapse: opening, conductance and pull, for every unfold; sensory synapses once a tick.
        cell_macs = 3.0 * units * units * (NUM_UNFOLDS + 1)
        updates = 4.0 * units * NUM_UNFOLDS
    return Part(
        name="second population",
        parameters=parameters,
        dense_macs_per_token=cell_macs * ticks + readout,
        state_updates_per_token=updates * ticks,
    )


def _mamba_part(block: HybridBlock) -> Part:
    mamba = block.mamba
    expanded, d_state = mamba.out_proj.in_features, mamba.d_state
    products, conv = _macs(mamba.in_proj) + _macs(mamba.out_proj), mamba.conv1d.weight.numel()
    if isinstance(mamba, Mamba2):
        # Whole chunks: every token scores its chunk and reads it; the state is written and read once a token.
        products += CHUNK_TOKENS * (d_state + expanded) + 2 * expanded * d_state
        scan = CHUNK_TOKENS * mamba.A_log.numel() + expanded * d_state / CHUNK_TOKENS
    else:
        products += _macs(mamba.x_proj) + _macs(mamba.dt_proj)
        scan = 3 * expanded * d_state
    return Part(
        name="Mamba",
        parameters=_size(mamba),
        dense_macs_per_token=products,
        state_updates_per_token=conv + scan + 2.0 * expanded,
    )


def _macs(layer: nn.Linear) -> float:
    return float(layer.weight.numel())


def _size(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def _add(name: str, parts: Sequence[Part]) -> Part:
    return Part(
        name=name,
        parameters=sum(p.parameters for p in parts),
        dense_macs_per_token=sum(p.dense_macs_per_token for p in parts),
        spike_macs_per_token=sum(p.spike_macs_per_token for p in parts),
        synaptic_operations_per_token=sum(p.synaptic_operations_per_token for p in parts),
        state_updates_per_token=sum(p.state_updates_per_token for p in parts),
    )
