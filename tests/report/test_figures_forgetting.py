"""What was kept, domain by domain."""

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.report.figures_forgetting import kept_domains, kept_picture
from tests.measured import Loss


def matrix_of(*rows, domains=("a", "b")):
    matrix = ForgettingMatrix(domains, 2)
    for row, losses in enumerate(rows):
        for column, bits in enumerate(losses):
            if bits is not None:
                matrix.record(row, column, Loss(bits, 2.0**bits))
    return matrix


def test_a_domain_is_shown_once_it_was_measured_after_its_own_task():
    (kept,) = kept_domains(matrix_of((8.0, 8.0), (3.0, 6.0), (4.0, 2.0)), {})
    assert (kept.name, kept.learned, kept.now, kept.bounds) == ("a", 3.0, 4.0, {})
    assert kept_domains(matrix_of((8.0, 8.0), (3.0, 6.0)), {}) == []


def test_the_bounds_of_a_study_are_their_last_values_of_the_same_domain():
    naive = matrix_of((8.0, 8.0), (3.0, 6.0), (7.0, 2.0))
    other = matrix_of((8.0, 8.0), (1.0, 1.0), (1.0, 1.0), domains=("x", "y"))
    matrix = matrix_of((8.0, 8.0), (3.0, 6.0), (4.0, 2.0))
    (kept,) = kept_domains(matrix, {"naive": naive, "joint": other})
    assert kept.bounds == {"naive": 7.0}
    pictured = kept_picture(matrix, [kept])
    assert "a 3.000 when learned, 4.000 now, 7.000 with naive training. Most forgotten: a, by 1.000" in pictured.wide
    assert pictured.numbers == (("domain", "when learned", "now", "naive"), [("a", 3.0, 4.0, 7.0)])


@pytest.mark.parametrize("bounds", [{}, {"naive": 7.0}])
def test_marks_are_explained_where_there_are_some(bounds):
    matrix = matrix_of((8.0, 8.0), (3.0, 6.0), (4.0, 2.0))
    (kept,) = kept_domains(matrix, {})
    assert ("diamond: joint" in kept_picture(matrix, [kept._replace(bounds=bounds)]).wide) == bool(bounds)


def test_a_run_that_forgot_nothing_is_not_said_to_have_forgotten_something():
    matrix = matrix_of((8.0, 8.0), (3.0, 6.0), (2.9, 2.0))
    assert "2.900 now. None was forgotten." in kept_picture(matrix, kept_domains(matrix, {})).wide
