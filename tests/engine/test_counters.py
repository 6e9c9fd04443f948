"""The counters add up, whatever happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambrane.engine.counters import Counters
from mambrane.engine.transaction import StepState

ENDS = [StepState.COMMITTED, StepState.SKIPPED, StepState.EMPTY, StepState.ABORTED]


@given(st.lists(st.sampled_from(ENDS)))
def test_after_any_sequence_the_sums_hold(ends):
    counters = Counters()
    for end in ends:
        counters.count(end, micro_batches=2, samples=6, tokens=30)
    assert counters.closed == len(ends)
    assert counters.applied == ends.count(StepState.COMMITTED)
    assert counters.skipped == ends.count(StepState.SKIPPED)
    assert counters.empty == ends.count(StepState.EMPTY)
    assert counters.aborted == ends.count(StepState.ABORTED)
    assert counters.attempted == counters.applied + counters.skipped
    closed = len(ends) - counters.aborted
    assert (counters.micro_steps, counters.samples, counters.tokens) == (2 * closed, 6 * closed, 30 * closed)


def test_only_an_applied_step_ends_a_row_of_skips():
    counters = Counters()
    rows = []
    for end in (ENDS[1], ENDS[1], ENDS[2], ENDS[3], ENDS[1], ENDS[0], ENDS[1]):
        counters.count(end)
        rows.append(counters.skips_in_a_row)
    assert rows == [1, 2, 2, 2, 3, 0, 1]


def test_counters_that_do_not_add_up_are_noticed():
    counters = Counters(applied=1)
    with pytest.raises(AssertionError):
        counters.count(StepState.COMMITTED)
    counters = Counters(empty=1)
    with pytest.raises(AssertionError):
        counters.count(StepState.EMPTY)


def test_every_counter_comes_back():
    counters = Counters(**{name: number for number, name in enumerate(Counters().state_dict())})
    again = Counters()
    again.load_state_dict(counters.state_dict())
    assert again == counters
