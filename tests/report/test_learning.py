"""The sections on what was learned: the numbers at the head, and what is said where there is nothing."""

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import Measure
from mambrane.report.data import ReportData
from mambrane.report.learning import configuration, head, log, memory
from mambrane.watch.history import read_history
from tests.measured import Accuracy, Loss
from tests.watch.shown import step_event, task_started

END = {"time_s": 2000.0, "event": "run_finished", "step": 4}


def data_of(*events, matrix=None, **fields):
    return ReportData(title="a run", history=read_history(events), config={}, matrix=matrix, **fields)


def test_key_figures_have_the_unit_of_the_measure():
    accuracy = Measure(name="accuracy", title="accuracy", unit="correct", is_lower_better=False)
    matrix = ForgettingMatrix(["a"], num_tasks=1, measure=accuracy)
    for row, value in enumerate((0.1, 0.75)):
        matrix.record(row, 0, Accuracy(value))
    html = head(data_of(task_started(), step_event(1), END, matrix=matrix))
    assert "0.750 <small>correct</small>" in html
    assert "bits/byte" not in html


def test_the_mean_speed_is_that_of_the_steps_that_say_both_their_tokens_and_their_speed():
    steps = [step_event(1, tokens=100, tokens_per_s=100.0), step_event(2, tokens=100, tokens_per_s=50.0)]
    without = [step_event(3, tokens_per_s=None), step_event(4, tokens=None)]
    html = head(data_of(task_started(), *steps, *without, END))
    # 200 tokens in 3 seconds.
    assert "67 <small>tokens/s</small>" in html
    assert "speed, mean" not in head(data_of(task_started(), *without, END))


def test_the_head_says_how_the_run_ended():
    started = [task_started(), step_event(1)]
    assert "The run finished." in head(data_of(*started, END))
    stopped = {"time_s": 2000.0, "event": "stopped", "reason": "SIGTERM", "step": 1}
    assert "The run was stopped (SIGTERM) and can be resumed." in head(data_of(*started, stopped))
    assert "The run has not ended" in head(data_of(*started))


def test_without_an_evaluation_there_is_no_matrix_and_that_is_said():
    assert "No domain has been evaluated yet." in memory(data_of())
    assert "No domain has been evaluated yet." in memory(data_of(matrix=ForgettingMatrix(["a", "b"], 2)))


def test_rows_that_are_not_measured_are_left_out_of_the_matrix():
    matrix = ForgettingMatrix(["a", "b"], num_tasks=2)
    for column in range(2):
        matrix.record(0, column, Loss(8.0, 2.0))
    html = memory(data_of(matrix=matrix))
    assert "untrained" in html
    assert "1 a" not in html
    assert "undefined so far" in html


def test_events_that_no_section_shows_are_counted_with_the_latest_of_each():
    events = [{"time_s": float(n), "event": "kernel_chosen", "op": f"op{n}"} for n in range(3)]
    html = log(data_of(*events))
    assert '<th scope="row">kernel chosen</th><td>3</td><td>op: op2</td>' in html
    assert log(data_of()) == ""


def test_every_setting_and_version_is_there():
    started = {"time_s": 1.0, "event": "run_started", "environment": {"torch": "2.13.0"}}
    html = configuration(ReportData(title="", history=read_history([started]), config={"model": {"hidden_dim": 16}}))
    for words in ("model", "hidden dim", "16", "torch", "2.13.0"):
        assert words in html
