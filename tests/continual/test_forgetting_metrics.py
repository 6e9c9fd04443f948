"""Claims about the numbers that a forgetting matrix says, against those worked out by hand."""

import pytest
from rich.console import Console

from mambrane.continual.forgetting_metrics import Metric, gap_closed
from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.measure import Measure
from mambrane.watch.table import metrics_table
from tests.continual.matrices import FORGETS, IMPROVES, filled, values
from tests.measured import Accuracy, Loss


def test_every_metric_equals_the_hand_computed_value():
    got = values(filled(FORGETS), joint=[1.0, 1.5, 2.0])
    assert got == pytest.approx(
        {
            "final_average": (4 + 3 + 2) / 3,
            "average_incremental": (2 + (3 + 1) / 2 + (4 + 3 + 2) / 3) / 3,
            "learned_average": (2 + 1 + 2) / 3,
            "backward_transfer": ((2 - 4) + (1 - 3)) / 2,
            "forgetting": ((4 - min(2, 3)) + (3 - 1)) / 2,
            "forward_transfer": ((8 - 7) + (8 - 6)) / 2,
            "lost_gain_fraction": ((4 - 2) / (8 - 2) + (3 - 1) / (8 - 1)) / 2,
            "intransigence": ((2 - 1) + (1 - 1.5) + (2 - 2)) / 3,
        }
    )


def test_the_metrics_of_an_accuracy_are_those_of_the_loss_that_it_stands_for():
    accuracy = Measure(name="accuracy", title="accuracy", unit="of 1", is_lower_better=False)
    matrix = ForgettingMatrix(("prose", "code", "tables"), 3, accuracy)
    for i, row in enumerate(FORGETS):
        for j, loss in enumerate(row):
            matrix.record(i, j, Accuracy(1 - loss / 10))
    got, losses = values(matrix, joint=[0.9, 0.85, 0.8]), values(filled(FORGETS), joint=[1.0, 1.5, 2.0])
    averages = ("final_average", "average_incremental", "learned_average")
    expected = {name: 1 - losses[name] / 10 for name in averages}
    expected |= {name: losses[name] / 10 for name in losses if name not in averages}
    expected["lost_gain_fraction"] = losses["lost_gain_fraction"]
    assert got == pytest.approx(expected)


def test_intransigence_is_left_out_without_a_joint_model_to_compare_with(tmp_path):
    matrix = filled(FORGETS)
    matrix.save(tmp_path / "matrix.json")
    console = Console(record=True, width=80)
    console.print(metrics_table(matrix))
    for text in ((tmp_path / "matrix.json").read_text(), console.export_text()):
        assert "intransigence" not in text
        assert "joint" not in text


def test_intransigence_compares_with_the_last_row_of_a_run_without_tasks(tmp_path):
    path = tmp_path / "matrix.json"
    filled([[8.0, 8.0, 8.0], [1.0, 1.5, 2.0]]).save(path)
    got = filled(FORGETS).metrics(load_matrix(path).values[-1])["intransigence"]
    assert got.value == pytest.approx(((2 - 1) + (1 - 1.5) + (2 - 2)) / 3)
    unfinished = ForgettingMatrix(("prose", "code"), 2).metrics([1.0, 2.0])["intransigence"]
    assert unfinished == Metric(None, "row 1 (after 1 tasks) is not measured yet")


def test_forgetting_is_measured_from_the_best_loss_before_the_last_task():
    rows = [[8.0, 8.0, 8.0], [4.0, 8.0, 8.0], [1.0, 4.0, 8.0], [4.0, 4.0, 4.0]]
    got = values(filled(rows))
    assert got["forgetting"] == pytest.approx(((4 - 1) + (4 - 4)) / 2)
    assert got["backward_transfer"] == 0.0


def test_forgetting_is_negative_when_earlier_tasks_became_better_than_ever():
    got = values(filled(IMPROVES))
    assert got["forgetting"] == pytest.approx(((2 - 3) + (3 - 4)) / 2)
    assert got["backward_transfer"] == pytest.approx(((4 - 2) + (4 - 3)) / 2)
    assert got["lost_gain_fraction"] == pytest.approx((-2 / 4 - 1 / 4) / 2)


def test_a_task_that_gained_nothing_has_no_lost_gain_fraction_and_says_why():
    rows = [[2.0, 8.0], [2.0, 8.0], [3.0, 4.0]]
    matrix = filled(rows, ("prose", "code"))
    fractions = matrix.lost_gain_fractions()
    assert fractions["prose"].value is None
    assert "learning prose gained 0.0000" in fractions["prose"].reason
    assert fractions["code"] == Metric(0.0)
    assert matrix.metrics()["lost_gain_fraction"] == fractions["prose"]


def test_metrics_of_an_unfinished_run_are_undefined_with_the_missing_row():
    matrix = ForgettingMatrix(("prose", "code"), 2)
    for row in (0, 1):
        for column in (0, 1):
            matrix.record(row, column, Loss(3.0, 8.0))
    assert matrix.missing(2) == [0, 1]
    metrics = matrix.metrics()
    assert metrics.pop("forward_transfer").value == 0.0
    for name, metric in metrics.items():
        assert metric.value is None
        assert "row 2" in metric.reason, name


def test_a_single_task_has_a_learned_loss_but_no_transfer():
    got = filled([[8.0], [2.0]], ("prose",)).metrics()
    assert got["final_average"].value == got["learned_average"].value == got["average_incremental"].value == 2.0
    for name in ("backward_transfer", "forgetting", "forward_transfer", "lost_gain_fraction"):
        assert got[name].value is None
        assert "one task only" in got[name].reason


def test_joint_training_has_a_final_average_and_nothing_else():
    got = filled([[8.0, 8.0], [2.0, 4.0]], ("prose", "code")).metrics()
    assert got["final_average"].value == 3.0
    assert "1 task over 2 domains" in got["forgetting"].reason


def test_gap_closed_is_zero_for_naive_and_one_for_joint():
    assert gap_closed(4.0, 4.0, 2.0).value == 0.0
    assert gap_closed(4.0, 2.0, 2.0).value == 1.0
    assert gap_closed(4.0, 2.5, 2.0).value == 0.75
    assert "no gap" in gap_closed(2.0, 2.0, 2.0).reason


def test_a_domain_after_a_joint_task_has_transfer():
    matrix = filled([[8.0, 8.0], [2.0, 4.0]], ("prose", "code"))
    matrix.grow(["tables"], [(2,)])
    for row, losses in enumerate([[None, None, 8.5], [None, None, 6.0], [3.0, 4.0, 2.0]]):
        for column, loss in enumerate(losses):
            if loss is not None:
                matrix.record(row, column, Loss(loss, 2**loss))
    got = values(matrix)
    assert got["forgetting"] == pytest.approx(0.5)
    assert got["forward_transfer"] == pytest.approx(8.5 - 6.0)
