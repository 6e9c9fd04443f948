"""The learning rate is a function of applied steps, and of nothing else."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mambrane.engine.config import EngineConfig
from mambrane.engine.schedule import Schedule, learning_rate_ratio
from mambrane.engine.transaction import StepState
from tests.engine import oracle
from tests.engine.tiny_training import INFINITE, ListLoader, make_batch, make_batches, make_trainer


@given(st.integers(1, 400), st.floats(0, 0.99), st.floats(0, 1))
def test_it_rises_to_the_peak_then_falls_to_the_minimum(total, warmup_ratio, min_ratio):
    ratios = [learning_rate_ratio(k, total, warmup_ratio=warmup_ratio, min_ratio=min_ratio) for k in range(total)]
    top = ratios.index(max(ratios))
    assert all(a <= b for a, b in itertools.pairwise(ratios[: top + 1]))
    assert all(a >= b for a, b in itertools.pairwise(ratios[top:]))
    assert all(0 < ratio <= 1 or (ratio == 0 and min_ratio == 0) or math.isclose(ratio, min_ratio) for ratio in ratios)
    if total > round(warmup_ratio * total) and total > 1:
        assert math.isclose(ratios[-1], min_ratio, abs_tol=1e-15)


@given(st.integers(0, 500), st.integers(1, 400))
def test_it_agrees_with_the_oracle_also_behind_the_end(applied, total):
    config = EngineConfig(learning_rate=0.3, warmup_ratio=0.07)
    schedule = Schedule(config)
    schedule.begin_task(total, 0)
    assert math.isclose(schedule.learning_rate(applied), oracle.learning_rate(applied, total, config), rel_tol=1e-12)


def test_without_warm_up_the_first_step_is_on_the_cosine():
    assert learning_rate_ratio(0, 2, warmup_ratio=0.0, min_ratio=0.0) == pytest.approx(0.5)
    assert learning_rate_ratio(1, 2, warmup_ratio=0.0, min_ratio=0.0) == pytest.approx(0.0)


def test_a_task_of_no_steps_still_has_a_rate():
    assert learning_rate_ratio(0, 0, warmup_ratio=0.1, min_ratio=0.1) == 1.0
    assert learning_rate_ratio(5, 0, warmup_ratio=0.1, min_ratio=0.1) == pytest.approx(0.1)


def test_each_task_warms_up_anew():
    schedule = Schedule(EngineConfig(learning_rate=1.0, warmup_ratio=0.2))
    schedule.begin_task(10, 0)
    first = [schedule.learning_rate(k) for k in range(10)]
    schedule.begin_task(10, 10)
    assert [schedule.learning_rate(k) for k in range(10, 20)] == first
    assert first[0] == 0.5
    assert first[1] == 1.0


def test_its_state_is_the_place_of_the_task():
    schedule = Schedule(EngineConfig())
    schedule.begin_task(30, 12)
    other = Schedule(EngineConfig())
    other.load_state_dict(schedule.state_dict())
    assert [other.learning_rate(k) for k in range(12, 50)] == [schedule.learning_rate(k) for k in range(12, 50)]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["good", "skip", "empty"]), min_size=1, max_size=12))
def test_the_rate_at_a_step_does_not_depend_on_skipped_and_empty_steps(kinds):
    batches = {
        "good": make_batch(1),
        "skip": make_batch(1, first_token=INFINITE),
        "empty": make_batch(1, num_targets=0),
    }

    def rates(kinds):
        trainer = make_trainer(accumulation_steps=1, ema_decay=0.0)
        results = trainer.steps(ListLoader([batches[kind] for kind in kinds]))
        return [result.learning_rate for result in results if result.state is StepState.COMMITTED]

    assert rates(kinds) == rates([kind for kind in kinds if kind == "good"])


def test_the_rate_of_the_schedule_is_the_rate_of_every_group():
    trainer = make_trainer(accumulation_steps=1)
    for result in trainer.steps(ListLoader(make_batches(4))):
        groups = trainer.optimizers[0].param_groups
        assert [group["lr"] for group in groups] == [result.learning_rate] * 2


def rates(kind: str, tasks: list[int], **settings: float) -> list[list[float]]:
    """Return the learning rates of the steps of each task, over the peak."""
    schedule = Schedule(EngineConfig(schedule=kind, learning_rate=1.0, warmup_ratio=0.1, **settings))
    found, applied = [], 0
    for total in tasks:
        schedule.begin_task(total, applied)
        restarted = Schedule(schedule.config)
        restarted.load_state_dict(schedule.state_dict())
        found.append([restarted.learning_rate(applied + step) for step in range(total)])
        applied += total
    return found


def test_warm_up_stable_decay_rises_stays_and_falls_at_the_end_of_each_task():
    first, second = rates("wsd", [100, 50], min_learning_rate_ratio=0.1, decay_ratio=0.2)
    assert first[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert set(first[10:80]) == {1.0}
    assert first[80:] == pytest.approx([1 - 0.9 * step / 20 for step in range(1, 21)])
    assert second[0] == pytest.approx(0.2)
    assert (second[39], second[49]) == (1.0, pytest.approx(0.1))


def test_an_infinite_schedule_falls_once_to_a_constant_that_later_tasks_go_on_with():
    first, second, third = rates("infinite", [100, 50, 3], min_learning_rate_ratio=0.1, decay_ratio=0.2)
    assert max(first) == first[9] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(first[9:]))
    assert first[30:] + second + third == pytest.approx([0.55] * (70 + 50 + 3))


def test_a_task_behind_another_schedule_rises_anew():
    schedule = Schedule(EngineConfig(schedule="infinite", learning_rate=1.0, warmup_ratio=0.1))
    schedule.load_state_dict({"total_steps": 100, "applied_before_task": 0, "kind": "cosine"})
    schedule.begin_task(50, 100)
    assert schedule.learning_rate(100) == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["cosine", "infinite"])
def test_progress_is_that_of_the_task_in_every_schedule(kind):
    schedule = Schedule(EngineConfig(schedule=kind))
    schedule.begin_task(4, 0)
    schedule.begin_task(10, 4)
    again = Schedule(schedule.config)
    again.load_state_dict(schedule.state_dict())
    assert [again.task_progress(applied) for applied in (4, 9, 14, 15)] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["cosine", "wsd", "infinite"])
@given(
    total=st.integers(1, 300), warmup_ratio=st.floats(0, 0.99), min_ratio=st.floats(0, 1), decay=st.floats(0.01, 0.99)
)
def test_every_rate_of_every_schedule_lies_between_nothing_and_the_peak(kind, total, warmup_ratio, min_ratio, decay):
    for step in range(total + 3):
        ratio = learning_rate_ratio(
            step, total, warmup_ratio=warmup_ratio, min_ratio=min_ratio, kind=kind, decay_ratio=decay
        )
        assert 0 <= ratio <= 1
