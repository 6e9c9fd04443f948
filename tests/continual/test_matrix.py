"""Claims about the forgetting matrix: what it keeps, how it grows and shrinks, and its file."""

import errno
import io
import os

import pytest
from rich.console import Console

from mambrane.continual.forgetting_metrics import Metric
from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.storage.atomic_files import StorageError
from mambrane.watch.table import matrix_tables, metrics_table
from tests.continual.matrices import FORGETS, IMPROVES, filled, values
from tests.measured import Loss


def test_a_matrix_that_cannot_be_written_is_a_clear_error_and_the_old_one_stays(tmp_path, monkeypatch):
    filled(FORGETS).save(tmp_path / "matrix.json")
    before = (tmp_path / "matrix.json").read_bytes()

    def fail(descriptor, block):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(StorageError, match=r"matrix\.json: No space left"):
        filled(IMPROVES).save(tmp_path / "matrix.json")
    assert (tmp_path / "matrix.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.json"]


def test_a_matrix_of_other_domains_is_refused():
    with pytest.raises(ValueError, match="saved matrix: 3 tasks"):
        filled(FORGETS, ("prose", "code", "markup")).load_state_dict(filled(FORGETS).state_dict())


def test_the_table_shows_every_loss_and_the_reason_of_what_is_undefined():
    matrix = ForgettingMatrix(("prose", "code"), 2)
    matrix.record(0, 0, Loss(7.125, 139.6))
    text = io.StringIO()
    console = Console(file=text, width=160)
    console.print(*matrix_tables(matrix))
    console.print(metrics_table(matrix))
    assert "7.125" in text.getvalue()
    assert "undefined: row 2 (after 2 tasks) is not measured yet" in text.getvalue()


def grown() -> ForgettingMatrix:
    """Return two learned domains and a third that nobody knew until the third task."""
    matrix = filled([[8.0, 8.0], [2.0, 7.0], [3.0, 1.0]], ("prose", "code"))
    matrix.grow(["tables"], [(2,)])
    matrix.record(2, 2, Loss(6.0, 64.0))
    for column, loss in enumerate([4.0, 3.0, 2.0]):
        matrix.record(3, column, Loss(loss, 2**loss))
    return matrix


def test_a_matrix_that_grew_keeps_its_cells_and_measures_the_new_task():
    got = values(grown())
    assert got["final_average"] == pytest.approx((4 + 3 + 2) / 3)
    assert got["forgetting"] == pytest.approx(((4 - 2) + (3 - 1)) / 2)
    assert got["learned_average"] == pytest.approx((2 + 1 + 2) / 3)
    assert got["average_incremental"] == pytest.approx((2 + (3 + 1) / 2 + (4 + 3 + 2) / 3) / 3)
    # The gain on the third domain counts from the row before its task, as no earlier one is measured.
    assert grown().lost_gain_fractions()["tables"] == Metric(0.0)
    assert got["lost_gain_fraction"] == pytest.approx(((4 - 2) / (8 - 2) + (3 - 1) / (8 - 1)) / 2)
    assert got["forward_transfer"] is None
    assert grown().change(3, [0, 1]) == pytest.approx(((4 - 3) + (3 - 1)) / 2)
    assert grown().change(3, [2]) == -4.0


def test_an_empty_cell_with_a_reason_is_not_missing_and_undoes_only_the_metrics_that_need_it():
    matrix = grown()
    matrix.leave_empty(0, 2, "its text was not there")
    assert matrix.missing(0) == []
    assert matrix.missing(1) == [2]
    assert matrix.metrics()["forward_transfer"] == Metric(None, "tables: its text was not there")
    assert matrix.metrics()["forgetting"].value is not None


def test_a_dropped_task_leaves_the_matrix_as_it_was_before_it_grew():
    before = filled([[8.0, 8.0], [2.0, 7.0], [3.0, 1.0]], ("prose", "code"))
    matrix = grown()
    matrix.leave_empty(1, 2, "its text was not there")
    matrix.drop_task(2)
    assert matrix.state_dict() == before.state_dict()


def test_a_task_that_comes_back_to_a_domain_adds_a_row_and_no_column(tmp_path):
    matrix = filled([[8.0, 8.0], [2.0, 7.0], [3.0, 1.0]], ("prose", "code"))
    matrix.grow([], [(0,)])
    for column, loss in enumerate([1.0, 2.0]):
        matrix.record(3, column, Loss(loss, 2**loss))
    got = values(matrix)
    assert got["forgetting"] == pytest.approx(((1 - 2) + (2 - 1)) / 2)
    assert got["learned_average"] == pytest.approx((2 + 1) / 2)
    assert [matrix.task_name(task) for task in range(3)] == ["prose", "code", "prose again"]
    matrix.save(tmp_path / "matrix.json")
    assert load_matrix(tmp_path / "matrix.json").state_dict() == matrix.state_dict()
    matrix.drop_task(2)
    assert matrix.domains == ("prose", "code")
