"""Claims about the importance of synapses by the regularity of spikes."""

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.importance import peek_sequences
from mambrane.continual.regularizer import Regularizer
from mambrane.continual.spike_regularity import interval_sums, regularity, spike_regularity
from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.engine.extensions import BoundaryView
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.storage.state_files import decode_state, encode_state
from tests.continual.conftest import loader_of, move

CPU = torch.device("cpu")
CONFIG = ContinualConfig(
    continual_learning=True, num_tasks=2, regularizer_strength=1.0, regularizer="isi-cv", fisher_sequences=6
)


def sums_of(ticks: list[list[int]], length: int = 20, resets: tuple[int, ...] = (0,), read: int = 20) -> torch.Tensor:
    """Return the sums of neurons that fire at these ticks of one sequence, of which the first `read` are read."""
    spikes = torch.zeros(1, length, len(ticks))
    for neuron, times in enumerate(ticks):
        spikes[0, times, neuron] = 1.0
    reset = torch.zeros(1, length, dtype=torch.bool)
    reset[0, list(resets)] = True
    return interval_sums(spikes, reset, torch.arange(length)[None] < read)


def test_intervals_are_counted_summed_and_squared():
    found = sums_of([[1, 4, 6], [3], []])
    assert found.tolist() == [[2.0, 0.0, 0.0], [5.0, 0.0, 0.0], [13.0, 0.0, 0.0]]


def test_no_interval_crosses_a_document_or_reaches_into_padding():
    assert sums_of([[1, 4, 9, 11, 18]], resets=(0, 8), read=15).tolist() == [[2.0], [5.0], [13.0]]


def test_a_clock_counts_most_a_silent_neuron_nothing():
    clock, uneven, silent = regularity(sums_of([[0, 3, 6, 9, 12], [0, 1, 9, 10, 18], [5]])).tolist()
    assert clock == 1.0
    intervals = torch.tensor([1.0, 8.0, 1.0, 8.0])
    cv = intervals.std(correction=0) / intervals.mean()
    assert uneven == pytest.approx(float(1 / (1 + cv)))
    assert silent == 0.0


def model_that_fires(build_model):
    model = build_model(use_mamba=True, num_gate_heads=2)
    with torch.no_grad():
        model.embedding.weight.mul_(50.0)
    return model


def test_every_plastic_synapse_gets_an_importance_and_nothing_else(build_model, domains):
    model = model_that_fires(build_model)
    sequences = peek_sequences(loader_of(domains[0]), 6)
    found = spike_regularity(model, sequences, generator=make_generator(0, "none"), device=CPU)
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: weight.shape for name, weight in model.plastic_synapses().items()
    }
    assert all(0 < tensor.max() <= 1 for tensor in found.values())


class Others(Ranks):
    """A process whose others have added up this, in the order in which it asks."""

    def __init__(self, rank, size, others=()):
        super().__init__(rank, size)
        self.others, self.own = others, []

    def sum_(self, *tensors):
        self.own = [tensor.clone() for tensor in tensors]
        for tensor, other in zip(tensors, self.others, strict=False):
            tensor += other


def test_processes_that_share_the_sequences_find_what_one_finds(build_model, domains):
    model = model_that_fires(build_model)
    sequences = peek_sequences(loader_of(domains[0]), 2)

    def found(ranks):
        return spike_regularity(model, sequences, generator=make_generator(0, "none"), device=CPU, ranks=ranks)

    others = []
    for rank in (0, 1):
        # One of them has no sequence.
        other = Others(rank, 3)
        found(other)
        others.append(other.own)
    together = found(Others(2, 3, [sum(parts) for parts in zip(*others, strict=True)]))
    torch.testing.assert_close(together, found(ONE_RANK))


def boundary(model, regularizer, domain):
    regularizer.boundary(BoundaryView(model=model, loader=loader_of(domain), task_index=0, device=CPU))


def test_the_penalty_holds_plastic_synapses_is_zero_at_the_anchor_and_survives_a_restart(build_model, domains):
    model = model_that_fires(build_model)
    regularizer = Regularizer(CONFIG, model, seed=0)
    boundary(model, regularizer, domains[0])
    assert regularizer.penalty(model).item() == 0.0
    move(model, by=0.1)
    penalty = regularizer.penalty(model)
    assert penalty.item() > 0.0
    penalty.backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == set(model.plastic_synapses())
    resumed = Regularizer(CONFIG, model, seed=0)
    resumed.load_state_dict(decode_state(*encode_state(regularizer.state_dict(), copy=True)))
    assert torch.equal(resumed.penalty(model), penalty)


def test_a_model_without_spikes_on_both_sides_is_refused(build_model):
    with pytest.raises(UserError, match="isi-cv"):
        Regularizer(CONFIG, build_model(block_pattern="mamba"), seed=0)
