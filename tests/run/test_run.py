"""A run as a person uses it in Python."""

import shutil

import pytest

import mambrane
from mambrane.core.errors import UserError
from mambrane.run.run import Run


@pytest.fixture
def run(run_folder):
    return Run.open(run_folder)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not the folder of a run"):
        Run.open(tmp_path)


def test_it_is_the_class_that_the_package_offers(run, run_folder):
    assert mambrane.Run is Run
    assert repr(run) == f"Run({str(run_folder)!r})"
    assert run.outcome is None


def test_the_matrix_is_what_evaluating_gives(run):
    measured = run.evaluate()
    assert [measured[name].value for name in run.matrix.domains] == pytest.approx(run.matrix.values[-1], abs=1e-9)


def test_the_events_come_in_order_and_end_with_the_end(run):
    kinds = [event["event"] for event in run.events()]
    assert kinds.index("run_started") < kinds.index("step")
    # The last save goes on in the background while the run says that it has ended.
    assert set(kinds[kinds.index("run_finished") + 1 :]) <= {"checkpoint_saved", "checkpoint_removed", "sample"}
    assert sum(kind == "task_started" for kind in kinds) == 2


def test_pieces_of_a_stream_are_the_generated_text(run):
    options = {"max_tokens": 20, "seed": 1}
    assert "".join(run.stream("ab", **options)) == run.generate("ab", **options)
    assert run.generate("ab", max_tokens=20, seed=2, temperature=5.0) != run.generate("ab", max_tokens=20, seed=1)


def test_a_damaged_matrix_is_a_warning_and_no_matrix(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "matrix.json").write_text("{")
    warnings = []
    events = mambrane.EventLog()
    events.listeners.append(lambda event: warnings.append(event["message"]))
    assert Run.open(tmp_path / "run", events=events).matrix is None
    assert len(warnings) == 1
    assert "matrix.json" in warnings[0]
