"""Claims about what tells the time by which replay is due, and about replay that keeps pace with the weights."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mambrane.continual.replay import Replay
from mambrane.continual.replay_clocks import UpdateClock
from mambrane.engine.extensions import Extensions, StepView, TakeUpView
from mambrane.storage.state_files import decode_state, encode_state
from tests.continual.beside_replay import TwoTasks, config_with, ends_of_a_run_that_is_left, same


def clock_of(model: nn.Module, *ways: float) -> UpdateClock:
    clock = UpdateClock()
    clock.tick(model)
    for way in ways:
        model.weight.data.add_(way)
        clock.tick(model)
    return clock


def test_pace_is_the_last_update_beside_the_mean_and_1_before_there_are_two():
    model = nn.Linear(4, 1, bias=False)
    assert clock_of(model).pace == clock_of(model, 3.0).pace == 1.0
    clock = clock_of(model, 1.0, 2.0, 3.0)
    assert clock.last == pytest.approx(6.0)
    assert clock.pace == pytest.approx(1.5)
    assert clock_of(model, 0.0, 0.0).pace == 1.0


def test_a_clock_that_was_saved_goes_on():
    model = nn.Linear(4, 1, bias=False)
    clock, again = clock_of(model, 1.0, 2.0), UpdateClock()
    again.load_state_dict(decode_state(*encode_state(clock.state_dict(), copy=True)))
    model.weight.data.add_(5.0)
    for each in (clock, again):
        each.tick(model)
    assert clock.pace == again.pace != 1.0


def put_back(replay: Replay, model: nn.Module) -> None:
    replay.before_put_back(model.state_dict())


def take_up(replay: Replay, model: nn.Module) -> None:
    view = TakeUpView(model, 1, end_of_text=0, device=torch.device("cpu"))
    Extensions.of(replay).take_up({}, {"replay": replay.state_dict()}, view)


@pytest.mark.parametrize("happens", [put_back, take_up])
def test_a_way_that_no_step_has_gone_is_no_update(build_model, happens: Callable):
    run = TwoTasks(build_model, config_with(replay_timing="updates")).first_task()
    replay = run.extensions.by_name()["replay"]
    last, count = replay.clock.last, replay.clock.count
    happens(replay, run.model)
    for way, updates in ((100.0, 0), (1.0, 1)):
        with torch.no_grad():
            run.model.embedding.weight.add_(way)
        replay.clock.tick(run.model)
        assert replay.clock.count == count + updates
    assert replay.clock.last == pytest.approx(run.model.embedding.weight.numel() ** 0.5, rel=1e-3) != last


def test_more_is_replayed_after_large_updates_and_in_all_as_far_as_the_weights_moved(build_model):
    run = TwoTasks(build_model, config_with(replay_timing="updates")).first_task()
    replay, paces, rows = run.extensions.by_name()["replay"], [], []
    replay.clock.total, replay.clock.count = 0.0, 0
    batch = next(iter(run.loaders[1].epoch_batches()))
    for size in (4.0, 0.0, 1.0, 7.0) * 8:
        with torch.no_grad():
            run.model.embedding.weight.add_(size)
        replay.clock.tick(run.model)
        paces.append(replay.clock.pace)
        before = replay.rows_replayed
        replay.mix(batch)
        rows.append(replay.rows_replayed - before)
    assert sum(rows[3::4]) > 2 * sum(rows[2::4])
    assert max(rows) <= 4
    assert sum(rows) == pytest.approx(0.5 * 4 * sum(paces), abs=4)


def test_it_differs_from_steps_and_a_run_that_is_left_ends_the_same(build_model):
    config = config_with(replay_timing="updates", replay_fraction=0.4)
    whole, taken_up = ends_of_a_run_that_is_left(build_model, config)
    assert same(whole, taken_up)
    by_steps = TwoTasks(build_model, config_with(replay_fraction=0.4)).first_task().second_task().weights()
    assert not same(whole, by_steps)


def test_updates_of_one_size_are_steps_bit_for_bit(build_model, monkeypatch):
    by_steps = TwoTasks(build_model, config_with()).first_task().second_task().weights()
    monkeypatch.setattr(UpdateClock, "pace", 1.0)
    config = config_with(replay_timing="updates")
    assert same(by_steps, TwoTasks(build_model, config).first_task().second_task().weights())


@pytest.mark.parametrize("timing", ["late", "updates"])
def test_a_step_that_does_not_count_leaves_the_clock_where_it_was(build_model, timing):
    run = TwoTasks(build_model, config_with(replay_timing=timing)).first_task().second_task(3)
    replay = run.extensions.by_name()["replay"]
    pace, before = replay.clock.pace, run.weights()
    take_back = replay.revocation_point()
    with torch.no_grad():
        run.model.embedding.weight.add_(1.0)
    replay.after_step(StepView(run.model, [], [], [], num_targets=1, applied_step=10, learning_rate=0.1))
    assert replay.clock.pace != pace
    take_back()
    assert replay.clock.pace == pace
    if timing == "updates":
        assert same(replay.clock.before, {name: before[name] for name in replay.clock.before})


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(("steps", "late", "updates"), 2)))
def test_a_run_goes_on_with_another_timing(build_model, before, after):
    earlier = TwoTasks(build_model, config_with(replay_timing=before)).first_task().second_task(3)
    later = TwoTasks(build_model, config_with(replay_timing=after))
    was, replay = (run.extensions.by_name()["replay"] for run in (earlier, later))
    new_clock = replay.clock.state_dict()
    replay.load_state_dict(was.state_dict())
    assert replay.clock.state_dict() == new_clock
    assert replay.rows_replayed == was.rows_replayed
