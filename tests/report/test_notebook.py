"""A run in a notebook."""

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.report.notebook import NotebookListener, matrix_html
from tests.measured import Loss
from tests.watch.shown import step_event, task_started


def measured_matrix():
    matrix = ForgettingMatrix(("a<b", "c"), 2)
    for row, losses in enumerate([(8.0, 8.0), (3.0, 6.0), (4.0, 2.0)]):
        for column, bits in enumerate(losses):
            matrix.record(row, column, Loss(bits, 2.0**bits))
    return matrix


def shown_for(*events):
    shown = []
    listener = NotebookListener(shown.append)
    for event in events:
        listener(event)
    return shown


def test_progress_loss_and_speed_are_shown_while_it_trains():
    shown = shown_for({"event": "run_started", "num_tasks": 2}, task_started(), step_event(1), step_event(30))
    assert 'value="0.067"' in shown[-1]
    assert "task 1 of 2: python" in shown[-1]
    assert "loss 4.000 nats per token" in shown[-1]


def test_steps_are_shown_at_most_once_a_second():
    steps = [step_event(number, time_s=1000.0 + number / 100) for number in range(1, 300)]
    assert len(shown_for(task_started(), *steps)) == 3


def test_the_matrix_stands_there_when_it_is_measured_and_names_cannot_become_markup():
    matrix = measured_matrix()
    shown = shown_for({"event": "matrix", **matrix.state_dict()}, {"event": "run_finished", "step": 2})
    assert "finished" in shown[-1]
    assert "4.00" in shown[-1]
    assert "a&lt;b" in shown[-1]
    assert "a<b" not in shown[-1]
    assert "forgetting (0 is none), bits per byte: 1.000" in matrix_html(matrix)


def test_a_warning_is_shown_at_once():
    assert (
        "warning: half the text &lt;is&gt; gone"
        in shown_for({"event": "warning", "message": "half the text <is> gone"})[-1]
    )


@pytest.mark.filterwarnings("ignore")
def test_in_ipython_one_output_is_updated_in_place(monkeypatch):
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    capture = pytest.importorskip("IPython.utils.capture")
    monkeypatch.setenv("IPYTHONDIR", "/nonexistent")
    shell = interactive.InteractiveShell.instance()
    try:
        with capture.capture_output() as captured:
            listener = NotebookListener()
            listener(task_started())
        first, last = captured.outputs
        assert "task 1 of 1: python" in last._repr_html_()
        assert first._repr_html_() != last._repr_html_()
    finally:
        shell.history_manager.end_session() if shell.history_manager else None
        interactive.InteractiveShell.clear_instance()
