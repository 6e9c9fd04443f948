"""The metrics of a forgetting matrix, worked out by hand."""

import pytest
from mambrane.continual.formulas import (
    average_incremental,
    backward_transfer,
    forgetting,
    forward_transfer,
    learned_average,
    mean,
)

LOSSES = [
    [8.0, 8.0, 8.0],
    [2.0, 7.0, 8.0],
    [1.0, 3.0, 6.0],
    [4.0, 5.0, 2.0],
]
"""Three tasks; the second one helps the first, and the third one makes both forget."""


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (average_incremental, (2.0 + (1.0 + 3.0) / 2 + (4.0 + 5.0 + 2.0) / 3) / 3),
        (learned_average, (2.0 + 3.0 + 2.0) / 3),
        (backward_transfer, ((2.0 - 4.0) + (3.0 - 5.0)) / 2),
        (forgetting, ((4.0 - 1.0) + (5.0 - 3.0)) / 2),
        (forward_transfer, ((8.0 - 7.0) + (8.0 - 6.0)) / 2),
    ],
)
def test_each_formula_by_hand(formula, expected):
    assert formula(LOSSES) == pytest.approx(expected)


def test_a_mean_of_one_is_itself():
    assert mean([3.0]) == 3.0
