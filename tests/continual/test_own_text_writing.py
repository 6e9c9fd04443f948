"""A model writes the text that is replayed, so that none is stored."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.own_text_writing import write_sequences
from mambrane.continual.replay import Replay
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.data.domains import Domain
from mambrane.engine.extensions import BoundaryView, TakeUpView
from tests.continual.beside_replay import TwoTasks, config_with, ends_of_a_run_that_is_left, same
from tests.continual.conftest import END_OF_TEXT, VOCAB_SIZE, loader_of

LENGTH = 20


def replay_of(model: torch.nn.Module, source: str, *, size: int = 12, strategy: str = "balanced") -> Replay:
    config = ContinualConfig(
        continual_learning=True,
        use_replay=True,
        replay_buffer_size=size,
        replay_source=source,
        replay_strategy=strategy,
    )
    return Replay(config, sequence_length=LENGTH, seed=3, model=model)


def show(replay: Replay, domain: Domain) -> list[MicroBatch]:
    return [replay.mix(batch) for batch in loader_of(domain).epoch_batches()]


def end_task(replay: Replay, task: int) -> None:
    loader = SimpleNamespace(end_of_text=END_OF_TEXT)
    replay.boundary(BoundaryView(model=replay.model, loader=loader, task_index=task, device=torch.device("cpu")))


def rows_of(replay: Replay) -> set[tuple[int, ...]]:
    return {tuple(row) for row in replay.written.read(torch.arange(replay.written.size)).inputs_BT.tolist()}


def test_written_sequences_are_cut_from_streams_that_start_with_a_document(build_model: Callable):
    model = build_model(use_mamba=True, num_gate_heads=2).train()
    batch = write_sequences(model, 5, LENGTH, end_of_text=END_OF_TEXT, generator=make_generator(0, "w"))
    assert batch.inputs_BT.shape == batch.targets_BT.shape == (5, LENGTH)
    assert model.training
    assert (batch.inputs_BT[:, 0] == END_OF_TEXT).all()
    assert torch.equal(batch.inputs_BT[:, 1:], batch.targets_BT[:, :-1])
    assert torch.equal(batch.resets_BT, batch.inputs_BT == END_OF_TEXT)
    assert 0 <= int(batch.targets_BT.min()) <= int(batch.targets_BT.max()) < VOCAB_SIZE
    again = write_sequences(model, 5, LENGTH, end_of_text=END_OF_TEXT, generator=make_generator(0, "w"))
    assert torch.equal(batch.targets_BT, again.targets_BT)
    long = write_sequences(model, 130, 3, end_of_text=END_OF_TEXT, generator=make_generator(0, "w"))
    # 64 texts of three sequences, the first 130 of them: a text goes on where its last sequence stopped.
    assert torch.equal(long.targets_BT[0, -1:], long.inputs_BT[1, :1])


def test_a_text_follows_what_the_model_finds_likely(build_model: Callable):
    model = build_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        batch = write_sequences(model, 64, LENGTH, end_of_text=END_OF_TEXT, generator=make_generator(0, "w"))
    counts = batch.targets_BT.flatten().bincount(minlength=VOCAB_SIZE).float()
    assert counts.min() > 0.5 * counts.mean()


@pytest.mark.parametrize("strategy", ["balanced", "importance"])
def test_generated_replay_stores_none_of_the_text_and_replays_what_the_model_wrote(
    build_model: Callable, domains: list[Domain], strategy: str
):
    replay = replay_of(build_model(), "generated", strategy=strategy)
    show(replay, domains[0])
    assert replay.written.size == 0
    end_task(replay, 0)
    mixed = show(replay, domains[1])
    assert replay.buffer.size == 0
    assert replay.written.size == 12
    real = {tuple(row) for batch in loader_of(domains[0]).epoch_batches() for row in batch.inputs_BT.tolist()}
    assert rows_of(replay).isdisjoint(real)
    replayed = {tuple(row) for batch in mixed for row in batch.inputs_BT.tolist()} & rows_of(replay)
    assert len(replayed) > 3
    end_task(replay, 1)
    show(replay, domains[2])
    assert replay.written.tasks.bincount().tolist() == [6, 6]


def test_both_halves_are_stored_and_written_and_both_are_replayed(build_model: Callable, domains: list[Domain]):
    replay = replay_of(build_model(), "both")
    show(replay, domains[0])
    end_task(replay, 0)
    mixed = show(replay, domains[1])
    assert (replay.buffer.capacity, replay.written.capacity) == (6, 6)
    assert replay.written.size == 6
    rows = [tuple(row) for batch in mixed for row in batch.inputs_BT.tolist()]
    stored = {tuple(row) for batch in loader_of(domains[0]).epoch_batches() for row in batch.inputs_BT.tolist()}
    assert any(row in rows_of(replay) for row in rows)
    assert any(row in stored for row in rows)


@pytest.mark.parametrize("source", ["generated", "both"])
def test_written_text_survives_a_restart_and_a_step_that_is_aborted(
    build_model: Callable, domains: list[Domain], source: str
):
    replay = replay_of(build_model(), source)
    show(replay, domains[0])
    end_task(replay, 0)
    batches = list(loader_of(domains[1]).epoch_batches())
    undo = replay.undo_point()
    first = replay.mix(batches[0])
    undo()
    assert replay.written.size == 0
    assert all(torch.equal(one, other) for one, other in zip(first, replay.mix(batches[0]), strict=True))
    again = replay_of(build_model(seed=5), source)
    again.load_state_dict(replay.state_dict())
    for batch in batches[1:]:
        assert all(torch.equal(*pair) for pair in zip(replay.mix(batch), again.mix(batch), strict=True))


def test_text_that_was_stored_is_let_go_where_none_may_be(build_model: Callable, domains: list[Domain]):
    stored = replay_of(build_model(), "memory")
    show(stored, domains[0])
    end_task(stored, 0)
    replay = replay_of(build_model(), "generated")
    replay.load_state_dict(stored.state_dict())
    show(replay, domains[1])
    assert (replay.buffer.size, replay.written.size) == (0, 12)


@pytest.mark.parametrize("before", ["memory", "nothing"])
def test_text_is_written_before_the_first_row_of_a_task_whatever_the_run_had_before(
    build_model: Callable, domains: list[Domain], before: str
):
    replay = replay_of(build_model(), "generated")
    if before == "memory":
        stored = replay_of(build_model(), "memory")
        show(stored, domains[0])
        end_task(stored, 0)
        replay.load_state_dict(stored.state_dict())
    else:
        replay.take_up(TakeUpView(replay.model, 1, END_OF_TEXT, torch.device("cpu")))
    (in_the_midst, *_) = loader_of(domains[1]).epoch_batches()
    in_the_midst = in_the_midst._replace(resets_BT=torch.zeros_like(in_the_midst.resets_BT))
    mixed = replay.mix(in_the_midst)
    assert replay.written.size == 12
    assert any(tuple(row) in rows_of(replay) for row in mixed.inputs_BT.tolist())


WAYS = {
    "replayed": {},
    "distilled": {"replay_label_strength": 0.0, "distillation_strength": 1.0},
    "both": {"distillation_strength": 1.0},
}


def test_written_text_is_replayed_distilled_or_both(build_model: Callable):
    ends = [
        TwoTasks(build_model, config_with(replay_source="generated", **way)).first_task().second_task().weights()
        for way in WAYS.values()
    ]
    assert not any(same(one, other) for one, other in itertools.combinations(ends, 2))


def test_distilling_written_text_goes_on_bit_for_bit_after_a_stop(build_model: Callable):
    config = config_with(replay_source="generated", **WAYS["distilled"])
    assert same(*ends_of_a_run_that_is_left(build_model, config))
