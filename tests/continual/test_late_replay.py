"""Claims about replay that comes late in a task."""

import pytest

from tests.continual.beside_replay import STEPS_OF_A_TASK, TwoTasks, config_with, ends_of_a_run_that_is_left, same

LATE = config_with(replay_timing="late", replay_fraction=0.4)


def test_rows_come_by_the_cosine_of_the_task_and_are_as_many_in_all(build_model):
    run = TwoTasks(build_model, config_with(replay_timing="late", replay_fraction=0.5)).first_task()
    replay, rows = run.extensions.by_name()["replay"], []
    batch = next(iter(run.loaders[1].epoch_batches()))
    for quarter in range(5):
        replay.clock.progress = quarter / 4
        before = replay.rows_replayed
        for _ in range(100):
            replay.mix(batch)
        rows.append(replay.rows_replayed - before)
    # Of four rows a batch, half are due on average: 1 - cos(pi p) is 0, 0.293, 1, 1.707, 2.
    assert rows == pytest.approx([0, 58.6, 200, 341.4, 400], abs=1)


def test_none_are_replayed_at_the_beginning_and_twice_as_many_at_the_end(build_model):
    run = TwoTasks(build_model, LATE).first_task().second_task()
    fractions = [numbers["replay/fraction"] for numbers in run.numbers[STEPS_OF_A_TASK:]]
    assert fractions[0] == 0
    assert fractions == sorted(fractions)
    assert fractions[-1] == 0.75
    replay = run.extensions.by_name()["replay"]
    assert replay.clock.progress == 1.0
    run.trainer.end_task(run.loaders[1], 1)
    assert replay.clock.progress == 0.0


def test_it_differs_from_steps_and_a_run_that_is_left_ends_the_same(build_model):
    whole, taken_up = ends_of_a_run_that_is_left(build_model, LATE)
    assert same(whole, taken_up)
    by_steps = TwoTasks(build_model, config_with(replay_fraction=0.4)).first_task().second_task().weights()
    assert not same(whole, by_steps)


def test_late_and_none_is_none_bit_for_bit(build_model):
    runs = (config_with(replay_timing=timing, replay_fraction=0.0) for timing in ("late", "steps"))
    late, steps = (TwoTasks(build_model, config).first_task().second_task().weights() for config in runs)
    assert same(late, steps)
