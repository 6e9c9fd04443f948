"""Numbers as a CSV file."""

import csv

import pytest

from mambrane.storage.atomic_files import StorageError
from mambrane.watch.csv_numbers import CsvListener
from tests.watch.logged import tell
from tests.watch.shown import step_event


def table(file):
    with file.open(newline="") as lines:
        return list(csv.reader(lines))


def losses(file):
    return {row[0]: row[2] for row in table(file) if row[1] == "train/loss_nats_per_token"}


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


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        CsvListener(tmp_path / "nowhere" / "metrics.csv")(step_event(1))
