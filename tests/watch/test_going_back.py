"""From where on earlier events no longer count."""

import pytest

from mambrane.watch.going_back import BEFORE_EVERYTHING, GoingBack
from tests.watch.shown import step_event

STARTED = {"event": "run_started"}


def answers(*events):
    going_back = GoingBack()
    return [going_back(event) for event in events]


@pytest.mark.parametrize("kind", ["resumed", "task_taken_back"])
def test_a_resume_and_a_task_taken_back_say_the_step(kind):
    assert answers(STARTED, {"event": kind, "step": 3}, step_event(4)) == [None, 3, None]


def test_a_start_without_a_resume_goes_back_before_everything_once():
    assert answers(STARTED, {"event": "warning"}, step_event(1), step_event(2)) == [None, None, BEFORE_EVERYTHING, None]


def test_a_resume_that_lacks_its_step_takes_nothing_back():
    assert answers(STARTED, {"event": "resumed"}, step_event(4)) == [None, None, None]
