"""One row of the matrix: what is missing is measured, what is measured stays."""

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.outcome import StopError
from mambrane.continual.row_evaluation import RowEvaluation, batched
from mambrane.core.events import EventLog
from tests.engine.tiny_training import make_trainer
from tests.measured import Accuracy

NAMES = ("rising", "falling", "jumping")


def evaluation(trainer, *, stop_after=99, untrained=None, reference=()):
    """Return an evaluation whose every value is the number of the measurement, and the events it tells."""
    measured, events = [], EventLog()
    told = []
    events.listeners.append(told.append)

    def evaluate(model, domain):
        measured.append(domain.name)
        return Accuracy(float(len(measured)))

    trainer.events = events
    trainer.should_stop = lambda: len(measured) >= stop_after
    made = RowEvaluation(trainer, evaluate, evaluate_untrained=untrained, reference=reference)
    return made, measured, told


def test_a_stopped_row_goes_on_with_the_domains_that_are_missing(domains):
    matrix, trainer = ForgettingMatrix(NAMES, 3), make_trainer()
    stopped, measured, _ = evaluation(trainer, stop_after=2)
    with pytest.raises(StopError, match="a stop was asked for"):
        stopped.fill(matrix, 0, domains)
    assert measured == ["rising", "falling"]
    resumed, measured, told = evaluation(trainer)
    resumed.fill(matrix, 0, domains)
    assert measured == ["jumping"]
    assert matrix.values[0] == [1.0, 2.0, 1.0]
    assert [event["domain"] for event in told] == ["jumping"]


def test_a_domain_that_came_later_is_measured_on_the_untrained_model_in_row_zero(domains):
    matrix, trainer = ForgettingMatrix(NAMES, 3), make_trainer()
    made, _, _ = evaluation(trainer, untrained=lambda domain: Accuracy(0.25))
    made.fill(matrix, 1, domains)
    assert matrix.values[:2] == [[0.25] * 3, [1.0, 2.0, 3.0]]


def test_text_outside_the_tasks_is_measured_once_a_row(domains):
    matrix, trainer = ForgettingMatrix(NAMES[:2], 2), make_trainer()
    made, measured, _ = evaluation(trainer, reference=domains[2:])
    for _ in range(2):
        made.fill(matrix, 0, domains[:2])
    assert measured == list(NAMES)
    assert matrix.reference == {"jumping": [3.0, None, None]}


def test_the_last_group_may_be_smaller():
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
