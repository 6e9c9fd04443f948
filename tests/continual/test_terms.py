"""A task is kept on its terms, which are judged from its row of the matrix alone."""

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import Measure
from mambrane.continual.terms import Terms, cost_of_task
from mambrane.core.errors import UserError
from tests.measured import Accuracy, Loss

ROWS = [[8.0, 8.0, 8.0], [2.0, 7.0, 9.0], [3.0, 1.0, 6.0], [3.5, 1.1, 2.0]]


def matrix_of(rows: list[list[float]]) -> ForgettingMatrix:
    matrix = ForgettingMatrix(("prose", "code", "tables"), 3)
    for i, row in enumerate(rows):
        for j, loss in enumerate(row):
            matrix.record(i, j, Loss(loss, 2**loss))
    return matrix


def test_the_cost_is_the_mean_over_the_domains_before_and_the_gain_that_on_its_own():
    forgetting, gain = cost_of_task(matrix_of(ROWS), 2)
    assert forgetting == pytest.approx((0.5 + 0.1) / 2)
    assert gain == pytest.approx(4.0)
    assert cost_of_task(matrix_of(ROWS), 0) == (None, 6.0)


@pytest.mark.parametrize(
    ("terms", "is_kept"),
    [
        (Terms(), True),
        (Terms(max_forgetting=0.31), True),
        (Terms(max_forgetting=0.29), False),
        (Terms(max_forgetting=0.0), False),
        (Terms(min_gain=3.9), True),
        (Terms(min_gain=4.1), False),
        (Terms(max_forgetting=0.31, min_gain=4.1), False),
    ],
)
def test_a_task_is_kept_within_both_limits(terms, is_kept):
    assert terms.verdict(matrix_of(ROWS), 2).is_kept is is_kept


def test_models_of_their_own_cost_and_gain_nothing_that_could_be_compared():
    matrix = matrix_of(ROWS)
    matrix.is_of_one_model = False
    assert cost_of_task(matrix, 2) == (None, None)


def test_a_task_that_is_kept_all_the_same_says_what_it_missed_and_why_it_stays():
    verdict = Terms(min_gain=4.1).verdict(matrix_of(ROWS), 2).kept_all_the_same()
    assert verdict.is_kept
    assert "less than --min-gain 4.1; it is kept, as it is the only task" in verdict.reason


def test_the_first_task_has_nothing_to_forget():
    assert Terms(max_forgetting=0.0).verdict(matrix_of(ROWS), 0).is_kept


def test_an_accuracy_that_falls_is_a_cost():
    matrix = ForgettingMatrix(
        ("digits", "letters"), 2, Measure(name="accuracy", title="a", unit="a", is_lower_better=False)
    )
    for i, row in enumerate([[0.1, 0.1], [0.9, 0.2], [0.6, 0.8]]):
        for j, value in enumerate(row):
            matrix.record(i, j, Accuracy(value))
    forgetting, gain = cost_of_task(matrix, 1)
    assert (forgetting, gain) == (pytest.approx(0.3), pytest.approx(0.6))


def test_terms_that_cannot_be_judged_are_refused_before_the_task():
    with pytest.raises(UserError, match="cannot be judged on prose"):
        Terms(max_forgetting=1.0).check_before(matrix_of(ROWS), 2, gone=[0])
    Terms(max_forgetting=1.0).check_before(matrix_of(ROWS), 2, gone=[2])
    Terms(min_gain=1.0).check_before(matrix_of(ROWS), 2, gone=[0, 1])
