"""Importance without a gradient: synapses between neurons that fire at regular intervals.

    CV_n = standard deviation / mean of the intervals between neuron n's spikes       all intervals of all sequences
    r_n  = 1 / (1 + CV_n);   0 with fewer than two intervals
    importance of the synapse from s to u = r_u r_s

A neuron that fires like a clock has CV 0 and counts most, one that fires at random CV 1. Intervals end within their
document. Only plastic synapses have a neuron on each side, so only they get an importance.

Source of the idea, that regular intervals mark what a task needs: Roy et al., arXiv 2604.16496, known to us by its
abstract and not by its text: the formulas are ours, and no result of the paper is repeated here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mambrane.continual.sequence_gradients import passes_over
from mambrane.data.batch import MicroBatch, joined
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.shards import is_sharded, own_numbers, piece_of
from mambrane.engine.snapshot import evaluation_mode
from mambrane.layers.spiking import Ticks

FEWEST_INTERVALS = 2


def spike_regularity(
    model: Any,  # noqa: ANN401 -- a language model, by its plastic synapses and their spikes
    sequences: Sequence[MicroBatch],
    *,
    generator: torch.Generator,
    device: torch.device,
    ranks: Ranks = ONE_RANK,
) -> dict[str, Tensor]:
    """Return r_u r_s of every plastic synapse [U, S] by name; draws nothing, so `generator` is not used.

    Several processes share the sequences, and all of them get what all sequences show, each of its own weights.
    """
    ticks = Ticks(model.config.num_spike_steps)
    sums = {
        name: [torch.zeros(3, num_units, dtype=torch.float64, device=device) for num_units in reversed(weight_US.shape)]
        for name, weight_US in model.plastic_synapses().items()
    }
    # A pass over weights in pieces needs all processes, and begins at the whole model.
    together = is_sharded(model)
    run = model if together else model.hidden_states
    for places in passes_over(sequences, range(len(sequences)) if together else ranks.share_of(len(sequences))):
        batch = joined(*(sequences[place] for place in places)).to(device)
        with evaluation_mode(model), torch.no_grad():
            activity = run(batch.inputs_BT, resets_BT=batch.resets_BT).activity
        resets_BT, read_BT = ticks.spread_resets(batch.resets_BT), ticks.spread(batch.is_read_BT)
        for name, sides in model.synapse_spikes(activity).items():
            found = [interval_sums(spikes_BTN, resets_BT, read_BT) for spikes_BTN in sides]
            sums[name] = [old + new for old, new in zip(sums[name], found, strict=True)]
    if not together:
        ranks.sum_(*(each for sides in sums.values() for each in sides))
    regular = {
        name: regularity(post_3N)[:, None] * regularity(pre_3N)[None, :] for name, (pre_3N, post_3N) in sums.items()
    }
    return {name: own_numbers(piece_of(regular[name], weight)) for name, weight in model.plastic_synapses().items()}


def interval_sums(
    spikes_BTN: Float[Tensor, "B T N"], resets_BT: Bool[Tensor, "B T"], read_BT: Bool[Tensor, "B T"]
) -> Float[Tensor, "3 N"]:
    """Return how many intervals between spikes each neuron has, their sum and the sum of their squares, in ticks."""
    fired_BTN = (spikes_BTN > 0) & read_BT.unsqueeze(-1)
    tick_T = torch.arange(spikes_BTN.shape[1], device=spikes_BTN.device)
    last_BTN = torch.where(fired_BTN, tick_T[:, None], -1).cummax(dim=1).values
    # Of the ticks before this one: the last spike, if any.
    previous_BTN = torch.cat([torch.full_like(last_BTN[:, :1], -1), last_BTN[:, :-1]], dim=1)
    start_BT = torch.where(resets_BT, tick_T, 0).cummax(dim=1).values
    ends_BTN = fired_BTN & (previous_BTN >= start_BT.unsqueeze(-1))
    interval_BTN = torch.where(ends_BTN, tick_T[:, None] - previous_BTN, 0).double()
    moments = (ends_BTN.double(), interval_BTN, interval_BTN.square())
    return torch.stack([moment_BTN.sum(dim=(0, 1)) for moment_BTN in moments])


def regularity(sums_3N: Float[Tensor, "3 N"]) -> Float[Tensor, " N"]:
    """Return 1 / (1 + CV) of each neuron from the sums of its intervals; 0 where there are too few."""
    number_N, total_N, squares_N = sums_3N
    mean_N = total_N / number_N.clamp(min=1.0)
    variance_N = (squares_N / number_N.clamp(min=1.0) - mean_N.square()).clamp(min=0.0)
    regular_N = 1.0 / (1.0 + variance_N.sqrt() / mean_N.clamp(min=1.0))
    return torch.where(number_N >= FEWEST_INTERVALS, regular_N, 0.0).float()
