"""What a run's event log says once interruptions are taken out of it."""

import numpy as np
import pytest

from mambrane.watch.history import read_history


def step_event(step, *, time_s=None, **fields):
    event = {
        "time_s": time_s or 100.0 + step,
        "event": "step",
        "state": "COMMITTED",
        "step": step,
        "loss": float(step),
    }
    return {**event, **fields}


def event(kind, time_s=100.0, **fields):
    return {"time_s": time_s, "event": kind, **fields}


def task(number, name, time_s=100.0):
    return event("task_started", time_s, task=number, name=name, epochs=1, steps=4)


def test_of_two_lines_for_a_step_the_later_one_counts():
    history = read_history([step_event(1), step_event(2), step_event(2, loss=7.0)])
    assert history.series("loss").values.tolist() == [1.0, 7.0]


def test_a_resume_takes_back_the_steps_beyond_its_checkpoint():
    interrupted = [*(step_event(step) for step in range(1, 6)), event("resumed", step=3)]
    assert read_history(interrupted).last_step == 3
    history = read_history([*interrupted, step_event(4, loss=9.0)])
    assert history.series("loss").steps.tolist() == [1, 2, 3, 4]
    assert history.series("loss").values[-1] == 9.0
    assert history.num_resumes == 1


def test_nothing_of_an_earlier_attempt_counts_in_a_run_begun_anew():
    start, weights = event("run_started"), event("weights_measured", step=4, weights={})
    steps = [step_event(step) for step in range(1, 5)]
    old = [start, task(0, "python"), *steps[:2], event("resumed", step=2), task(1, "prose"), *steps[2:], weights]
    history = read_history([*old, start, task(0, "letters"), step_event(1, loss=9.0)])
    assert history.series("loss").steps.tolist() == [1]
    assert history.tasks() == [(0, "letters", 0, 1)]
    assert history.weights == {}
    assert history.num_resumes == 0


def test_a_run_that_goes_on_keeps_what_counts_up_to_its_checkpoint():
    start = event("run_started")
    old = [start, task(0, "python"), *(step_event(step) for step in range(1, 5))]
    goes_on = [start, event("switches", on=[], off=[]), event("resumed", step=3), task(0, "python"), step_event(4)]
    assert read_history([*old, *goes_on]).tasks() == [(0, "python", 0, 4)]


def test_tasks_span_the_steps_in_which_they_were_learned():
    history = read_history([task(0, "python"), step_event(1), step_event(2), task(1, "prose"), step_event(3)])
    assert history.tasks() == [(0, "python", 0, 2), (1, "prose", 2, 3)]


def test_a_resume_inside_a_task_does_not_move_its_beginning():
    before = [task(0, "python"), step_event(1), step_event(2), task(1, "prose"), step_event(3), step_event(4)]
    inside = read_history([*before, event("resumed", step=3), task(1, "prose"), step_event(4)])
    assert inside.tasks() == [(0, "python", 0, 2), (1, "prose", 2, 4)]
    earlier = read_history([*before, event("resumed", step=1), task(0, "python"), step_event(2), task(1, "prose")])
    assert earlier.tasks() == [(0, "python", 0, 2), (1, "prose", 2, 2)]


def test_skipped_steps_are_no_points_of_a_curve():
    skipped = step_event(1, state="SKIPPED", loss="nan")
    history = read_history([step_event(1), skipped, step_event(2)])
    assert history.series("loss").steps.tolist() == [1, 2]
    assert history.skipped_steps == [1]


@pytest.mark.parametrize(
    ("name", "expected"), [("stdp/mean_change", 0.5), ("terms/rate_band", 0.25), ("penalties/ewc", 0.125)]
)
def test_numbers_of_extensions_have_names(name, expected):
    numbers = {"numbers": {"stdp/mean_change": 0.5}, "terms": {"rate_band": 0.25}, "penalties": {"ewc": 0.125}}
    history = read_history([step_event(1, **numbers)])
    assert history.series(name).values.tolist() == [expected]
    assert history.extension_numbers() == ["stdp/mean_change"]
    assert history.added_losses() == ["penalties/ewc", "terms/rate_band"]


def test_a_number_that_the_run_does_not_have_is_none():
    history = read_history([step_event(1), step_event(2, loss="inf", scale=None)])
    assert history.series("scale") is None
    assert history.series("stdp/mean_change") is None
    assert np.isfinite(history.series("loss").values).all()


def test_running_time_leaves_interruptions_out():
    events = [step_event(1, time_s=100.0), step_event(2, time_s=130.0), event("resumed", 90_000.0, step=2)]
    assert read_history([*events, step_event(3, time_s=90_010.0)]).seconds == pytest.approx(40.0)


def test_how_a_run_ended_is_what_comes_last():
    stopped = event("stopped", reason="SIGTERM")
    saved = event("checkpoint_saved", step=1)
    assert read_history([step_event(1), stopped, saved]).end["reason"] == "SIGTERM"
    assert read_history([step_event(1), stopped, event("resumed", step=1)]).end is None


def test_kinds_without_a_picture_are_kept_for_the_log():
    history = read_history([event("kernel_chosen", op="lif"), step_event(1), event("epoch_finished", loss=1.0)])
    assert [other["event"] for other in history.other_events] == ["kernel_chosen"]
