"""The exit code of a run says how it ended."""

import pytest

from mambrane.continual.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome(True, "finished"), 0),
        (Outcome(False, "--max-steps 7 reached"), 0),
        (Outcome(False, "a stop was asked for", signal_number=15), 143),
        (Outcome(True, "finished", taken_back=("prose",)), 3),
    ],
)
def test_the_exit_code_is_that_of_a_shell_after_a_signal_and_three_where_a_task_was_taken_back(outcome, code):
    assert outcome.exit_code == code


def test_a_call_names_each_task_that_it_took_back_once_in_order():
    outcome = Outcome(True, "finished", taken_back=("letters", "prose"))
    assert outcome.also_taken_back(("notes", "letters")).taken_back == ("notes", "letters", "prose")
    assert outcome.also_taken_back(()) == outcome
