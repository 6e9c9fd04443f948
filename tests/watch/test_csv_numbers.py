"""Numbers as a CSV file."""

import csv

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.storage.atomic_files import StorageError
from mambrane.watch.csv_numbers import CsvListener
from tests.measured import Loss
from tests.watch.logged import tell
from tests.watch.shown import step_event


def table(file):
    with file.open(newline="") as lines:
        return list(csv.reader(lines))


def losses(file):
    return {row[0]: row[2] for row in table(file) if row[1] == "train/loss_nats_per_token"}


def evaluation(bits):
    return {"event": "evaluation", "row": 1, "domain": "a, b", "measure": "bits_per_byte", "bits_per_byte": bits}


def matrix_event(*rows):
    matrix = ForgettingMatrix(("a", "b"), 2)
    for row, losses in enumerate(rows):
        for column, bits in enumerate(losses):
            matrix.record(row, column, Loss(bits, 2.0**bits))
    return {"event": "matrix", **matrix.state_dict()}


def test_each_number_is_a_line_below_one_header(tmp_path):
    file = tmp_path / "metrics.csv"
    tell(CsvListener(file))
    tell(CsvListener(file), [{"event": "resumed", "step": 1}, step_event(2)])
    assert table(file)[0] == ["step", "name", "value"]
    assert ["1", "heldout_bits_per_byte/my <prose>", "2.5"] in table(file)
    assert losses(file) == {"1": "3.0", "2": "4.0"}
    assert sum(row[0] == "step" for row in table(file)) == 1


@pytest.mark.parametrize("kind", ["resumed", "task_taken_back"])
def test_steps_beyond_what_counts_are_removed_with_a_line_that_a_kill_has_torn(tmp_path, kind):
    file = tmp_path / "metrics.csv"
    tell(CsvListener(file), [step_event(step, loss=float(step)) for step in (1, 2, 3)])
    with file.open("a") as lines:
        lines.write("4,train/lo")
    tell(CsvListener(file), [{"event": kind, "step": 1}, step_event(2, loss=9.0)])
    assert losses(file) == {"1": "1.0", "2": "9.0"}
    assert all(len(row) == 3 for row in table(file))


@pytest.mark.parametrize("left", ["", "step,na", "\n", "\n1,train/task,0.0\n"])
def test_a_file_whose_header_is_not_there_gets_it_at_a_resume(tmp_path, left):
    file = tmp_path / "metrics.csv"
    file.write_text(left)
    tell(CsvListener(file), [{"event": "resumed", "step": 1}, step_event(2)])
    assert table(file)[0] == ["step", "name", "value"]
    assert sum(row == ["step", "name", "value"] for row in table(file)) == 1
    assert all(len(row) == 3 for row in table(file))


def test_each_number_of_a_step_stands_once_however_often_the_run_is_resumed_there(tmp_path):
    file = tmp_path / "metrics.csv"
    measured = matrix_event((8.0, 8.0), (3.0, 6.0))
    started = {"event": "run_started"}
    tell(CsvListener(file), [started, step_event(1), evaluation(2.5), measured])
    for bits in (2.75, 3.0):
        tell(CsvListener(file), [started, {"event": "resumed", "step": 1}, measured, evaluation(bits), measured])
    pairs = [(row[0], row[1]) for row in table(file)]
    assert len(pairs) == len(set(pairs))
    assert ["1", "heldout_bits_per_byte/a, b", "3.0"] in table(file)
    assert losses(file) == {"1": "4.0"}


def test_what_was_measured_before_the_checkpoint_and_is_not_told_again_stays(tmp_path):
    file = tmp_path / "metrics.csv"
    tell(CsvListener(file), [step_event(1), evaluation(2.5)])
    tell(CsvListener(file), [{"event": "run_started"}, {"event": "resumed", "step": 1}, step_event(2)])
    assert ["1", "heldout_bits_per_byte/a, b", "2.5"] in table(file)


def test_a_run_that_begins_anew_leaves_nothing_of_the_earlier_attempt(tmp_path):
    file = tmp_path / "metrics.csv"
    tell(CsvListener(file), [{"event": "run_started"}, evaluation(8.0), *(step_event(step) for step in (1, 2, 3))])
    tell(CsvListener(file), [{"event": "run_started"}, evaluation(7.0), step_event(1, loss=9.0)])
    assert losses(file) == {"1": "9.0"}
    assert [row for row in table(file) if row[0] == "0"] == [["0", "heldout_bits_per_byte/a, b", "7.0"]]


def test_the_matrix_after_a_task_was_taken_back_replaces_that_of_the_step_gone_back_to(tmp_path):
    file = tmp_path / "metrics.csv"
    before, after = matrix_event((8.0, 8.0), (3.0, 6.0)), matrix_event((8.0, 8.0), (3.0, 5.0))
    gone_back = {"event": "task_taken_back", "task": 1, "step": 1}
    tell(CsvListener(file), [step_event(1), before, step_event(2), before, gone_back, after])
    assert {row[0] for row in table(file)[1:]} == {"1"}
    pairs = [(row[0], row[1]) for row in table(file)]
    assert len(pairs) == len(set(pairs))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        CsvListener(tmp_path / "nowhere" / "metrics.csv")(step_event(1))
