"""Steps: how a stream is grouped, and the states a step may pass through."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambrane.engine.transaction import NEXT_STATES, StepGroups, StepState, StepTransaction, TailPolicy

lengths = st.integers(0, 50)
sizes = st.integers(1, 12)


class Liar:
    """A stream whose length is not what it says."""

    def __init__(self, items, claimed):
        self.items, self.claimed = items, claimed

    def __len__(self):
        return self.claimed

    def __iter__(self):
        return iter(self.items)


class WakesUpAgain:
    """An iterator that has more after its end, against the rules of Python."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def __iter__(self):
        return self

    def __next__(self):
        answer = next(self.answers, None)
        if answer is None:
            raise StopIteration
        return answer


def grouped(items, size, tail=TailPolicy.STEP):
    return [list(step) for step in StepGroups(items, size, tail)]


@given(lengths, sizes)
def test_steps_are_whole_but_the_last_and_none_is_empty(length, size):
    steps = grouped(range(length), size)
    assert list(itertools.chain(*steps)) == list(range(length))
    assert len(steps) == -(-length // size)
    assert all(len(step) == size for step in steps[:-1])
    assert all(1 <= len(step) <= size for step in steps)


@given(lengths, sizes, st.integers(0, 60))
def test_a_stream_without_a_length_or_with_a_wrong_one_gives_the_same_steps(length, size, claimed):
    expected = grouped(list(range(length)), size)
    assert grouped((item for item in range(length)), size) == expected
    assert grouped(Liar(range(length), claimed), size) == expected


@given(lengths, sizes, st.sampled_from([TailPolicy.DROP, TailPolicy.CARRY]))
def test_drop_and_carry_give_whole_steps_only_and_keep_the_rest_aside(length, size, tail):
    steps = StepGroups(iter(range(length)), size, tail)
    whole = [list(step) for step in steps]
    assert whole == grouped(range(length - length % size), size)
    assert steps.leftover == list(range(length - length % size, length))


@given(lengths, sizes)
def test_step_leaves_nothing_over(length, size):
    steps = StepGroups(range(length), size, TailPolicy.STEP)
    assert sum(len(list(step)) for step in steps) == length
    assert steps.leftover == []


@given(st.integers(1, 50), sizes)
def test_step_reads_one_item_ahead_and_no_more(length, size):
    read = []
    stream = (read.append(item) or item for item in range(length))
    consumed = 0
    for step in StepGroups(stream, size, TailPolicy.STEP):
        assert len(read) == consumed + 1
        assert step.first == consumed
        for item in step:
            assert item == consumed
            assert len(read) == max(consumed, 0) + 1
            consumed += 1
    assert consumed == length


@given(st.integers(0, 50), sizes)
def test_drop_and_carry_read_one_step_ahead_and_no_more(length, size):
    read = []
    steps = iter(StepGroups((read.append(item) or item for item in range(length)), size, TailPolicy.CARRY))
    for number in range(1, length // size + 1):
        assert next(steps).first == (number - 1) * size
        assert len(read) == number * size


@pytest.mark.parametrize("tail", list(TailPolicy))
def test_nothing_is_read_before_the_first_step_is_asked_for(tail):
    read = []
    StepGroups((read.append(item) for item in range(5)), 2, tail)
    assert read == []


@pytest.mark.parametrize("tail", list(TailPolicy))
def test_a_stream_that_wakes_up_after_its_end_is_not_read_again(tail):
    steps = StepGroups(WakesUpAgain([1, 2, 3, None, 4, 5, 6]), 2, tail)
    seen = [list(step) for step in steps]
    assert list(itertools.chain(*seen, steps.leftover)) == [1, 2, 3]


@pytest.mark.parametrize("falsy", [0, None, [], False])
def test_items_are_never_judged_by_their_truth(falsy):
    assert grouped([falsy] * 5, 2) == [[falsy] * 2, [falsy] * 2, [falsy]]
    assert grouped([falsy] * 5, 2, TailPolicy.DROP) == [[falsy] * 2, [falsy] * 2]


def test_a_step_of_no_items_cannot_be_asked_for():
    with pytest.raises(AssertionError, match="0 items"):
        StepGroups([], 0, TailPolicy.STEP)


def test_an_error_in_the_stream_passes_through_and_keeps_what_was_read():
    def stream():
        yield 1
        raise OSError("gone")

    steps = iter(StepGroups(stream(), 3, TailPolicy.STEP))
    step = next(steps)
    assert step.first == 1
    with pytest.raises(OSError, match="gone"):
        list(step)


def transaction(journal=None):
    journal = [] if journal is None else journal
    return StepTransaction(
        clear_gradients=lambda: journal.append("clear"), roll_back=lambda: journal.append("roll back")
    )


def at(state):
    """Return a transaction that stands in a state."""
    step = transaction()
    for following in PATHS[state]:
        step.advance(following)
    return step


def run_to(step, state, error=None):
    """Run a step up to a state, and fail there if an error is given."""
    with step:
        for following in PATHS[state]:
            step.advance(following)
        if error is not None:
            raise error


S = StepState
TO_CLIPPED = [S.ACCUMULATING, S.REDUCED, S.UNSCALED, S.CLIPPED]
PATHS = {
    S.OPEN: [],
    S.ACCUMULATING: TO_CLIPPED[:1],
    S.REDUCED: TO_CLIPPED[:2],
    S.UNSCALED: TO_CLIPPED[:3],
    S.CLIPPED: TO_CLIPPED,
    S.COMMITTED: [*TO_CLIPPED, S.COMMITTED],
    S.SKIPPED: [*TO_CLIPPED[:3], S.SKIPPED],
    S.EMPTY: [*TO_CLIPPED[:2], S.EMPTY],
    S.ABORTED: [S.ABORTED],
    S.CLOSED: [S.ABORTED, S.CLOSED],
}
ALLOWED = {
    (S.OPEN, S.ACCUMULATING),
    (S.OPEN, S.ABORTED),
    (S.ACCUMULATING, S.REDUCED),
    (S.ACCUMULATING, S.ABORTED),
    (S.REDUCED, S.UNSCALED),
    (S.REDUCED, S.EMPTY),
    (S.REDUCED, S.ABORTED),
    (S.UNSCALED, S.CLIPPED),
    (S.UNSCALED, S.SKIPPED),
    (S.UNSCALED, S.ABORTED),
    (S.CLIPPED, S.COMMITTED),
    (S.CLIPPED, S.ABORTED),
    (S.COMMITTED, S.CLOSED),
    (S.COMMITTED, S.SKIPPED),
    (S.SKIPPED, S.CLOSED),
    (S.EMPTY, S.CLOSED),
    (S.ABORTED, S.CLOSED),
}


@pytest.mark.parametrize(("state", "following"), list(itertools.product(S, S)))
def test_only_the_steps_of_the_diagram_are_possible(state, following):
    step = at(state)
    if (state, following) in ALLOWED:
        step.advance(following)
        assert step.state is following
    else:
        with pytest.raises(AssertionError, match=f"from {state.name} to {following.name}"):
            step.advance(following)
        assert step.state is state


def test_every_state_is_in_the_diagram_and_every_end_leads_to_closed():
    assert NEXT_STATES.keys() == set(S)
    for state in (S.SKIPPED, S.EMPTY, S.ABORTED):
        assert NEXT_STATES[state] == {S.CLOSED}
    assert NEXT_STATES[S.COMMITTED] == {S.CLOSED, S.SKIPPED}, "a GPU tells late whether a step counts"


@pytest.mark.parametrize("outcome", [S.COMMITTED, S.SKIPPED, S.EMPTY])
def test_gradients_are_cleared_on_entry_and_on_exit(outcome):
    journal = []
    with transaction(journal) as step:
        assert journal == ["clear"]
        for state in PATHS[outcome]:
            step.advance(state)
        assert not step.is_closed
        assert step.outcome is None
        journal.append("body")
    assert journal == ["clear", "body", "clear"]
    assert step.is_closed
    assert step.outcome is outcome


def test_an_aborted_step_is_rolled_back_once():
    journal = []
    with transaction(journal) as step:
        step.advance(S.ACCUMULATING)
        step.advance(S.ABORTED)
    assert journal == ["clear", "roll back", "clear"]
    assert step.outcome is S.ABORTED


@pytest.mark.parametrize("state", [S.OPEN, S.ACCUMULATING, S.REDUCED, S.UNSCALED, S.CLIPPED])
def test_an_exception_before_the_commit_aborts_the_step_and_goes_on(state):
    journal = []
    step = transaction(journal)
    with pytest.raises(KeyboardInterrupt):
        run_to(step, state, KeyboardInterrupt())
    assert step.is_closed
    assert step.outcome is S.ABORTED
    assert journal == ["clear", "clear", "roll back"]


@pytest.mark.parametrize("state", [S.SKIPPED, S.EMPTY, S.ABORTED])
def test_an_exception_after_the_decision_not_to_step_keeps_the_decision(state):
    step = transaction()
    with pytest.raises(ZeroDivisionError):
        run_to(step, state, ZeroDivisionError())
    assert step.is_closed
    assert step.outcome is state


def test_an_exception_after_the_commit_leaves_the_step_open_for_ever():
    journal = []
    step = transaction(journal)
    with pytest.raises(ZeroDivisionError):
        run_to(step, S.COMMITTED, ZeroDivisionError())
    assert step.state is S.COMMITTED
    assert not step.is_closed
    assert step.outcome is None
    assert journal == ["clear", "clear"]


def test_a_step_that_was_not_decided_cannot_close():
    step = transaction()
    with pytest.raises(AssertionError, match="from REDUCED to CLOSED"):
        run_to(step, S.REDUCED)


def test_a_step_is_opened_once():
    step = transaction()
    step.advance(S.ACCUMULATING)
    with pytest.raises(AssertionError, match="opened once"), step:
        pass


def test_what_clears_and_what_rolls_back_are_named_so_that_they_cannot_be_exchanged():
    with pytest.raises(TypeError):
        StepTransaction(list, list)


def test_large_steps_are_whole_too():
    assert [len(step) for step in grouped(range(2500), 1000, TailPolicy.CARRY)] == [1000, 1000]
