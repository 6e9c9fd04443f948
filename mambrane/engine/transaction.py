"""An optimizer step: which micro-batches belong to it, and its states as a transaction.

    OPEN -> ACCUMULATING -> REDUCED -> UNSCALED -> CLIPPED -> COMMITTED --> CLOSED
                               |           |                                ^
                               |           |           |
                               |           +-----------+-> SKIPPED ---------+   a gradient was not finite
                               +------------------------> EMPTY ------------+   nothing to learn from
     any state before COMMITTED ------------------------> ABORTED ----------+   interrupted, or an exception

A step has at least one micro-batch: it is opened by the one that shows that there is another step. No length, no modulo
and no loss value decides. COMMITTED is the point of no return: what fails after it leaves the
transaction open for ever, and nothing can be saved from it. Where a GPU decides (step.py), the host learns behind it
whether the step is SKIPPED.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, StrEnum
from itertools import chain, islice
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class TailPolicy(StrEnum):
    """What becomes of a last step with fewer micro-batches than the others."""

    STEP = "step"
    """Step with what there is."""
    DROP = "drop"
    """Leave it out."""
    CARRY = "carry"
    """Put it in front of the next epoch."""


class StepBatches(Generic[Item]):
    """Up to `size` items in order: the first is at hand, the others are fetched as the step is read (once)."""

    def __init__(self, first: Item, rest: Iterator[Item]) -> None:
        self.first = first
        self._rest = rest

    def __iter__(self) -> Iterator[Item]:
        return chain((self.first,), self._rest)


class StepGroups(Generic[Item]):
    """Groups any stream into steps of `size` items; only the last one may be shorter.

    STEP reads one item ahead and no more: the one that shows that there is another step. DROP and CARRY must know
    that a step is whole before it is opened, so they read one step ahead; what is left over stays in `leftover`.
    """

    def __init__(self, items: Iterable[Item], size: int, tail: TailPolicy) -> None:
        assert size >= 1, f"a step of {size} items"
        self.leftover: list[Item] = []
        self._steps = self._as_they_come(items, size) if tail is TailPolicy.STEP else self._whole(items, size)

    def __iter__(self) -> Iterator[StepBatches[Item]]:
        return self._steps

    def _as_they_come(self, items: Iterable[Item], size: int) -> Iterator[StepBatches[Item]]:
        # A generator stays exhausted; other iterators may wake up again after their end.
        stream = (item for item in items)
        for first in stream:
            yield StepBatches(first, islice(stream, size - 1))

    def _whole(self, items: Iterable[Item], size: int) -> Iterator[StepBatches[Item]]:
        stream = (item for item in items)
        for first in stream:
            group = [first, *islice(stream, size - 1)]
            if len(group) < size:
                self.leftover = group
            else:
                yield StepBatches(first, iter(group[1:]))


class StepState(Enum):
    """The state of a step between its opening and its close."""

    OPEN = "open"
    ACCUMULATING = "accumulating"
    REDUCED = "reduced"
    UNSCALED = "unscaled"
    CLIPPED = "clipped"
    COMMITTED = "committed"
    SKIPPED = "skipped"
    EMPTY = "empty"
    ABORTED = "aborted"
    CLOSED = "closed"


NEXT_STATES: dict[StepState, frozenset[StepState]] = {
    StepState.OPEN: frozenset({StepState.ACCUMULATING, StepState.ABORTED}),
    StepState.ACCUMULATING: frozenset({StepState.REDUCED, StepState.ABORTED}),
    StepState.REDUCED: frozenset({StepState.UNSCALED, StepState.EMPTY, StepState.ABORTED}),
    StepState.UNSCALED: frozenset({StepState.CLIPPED, StepState.SKIPPED, StepState.ABORTED}),
    StepState.CLIPPED: frozenset({StepState.COMMITTED, StepState.ABORTED}),
    StepState.COMMITTED: frozenset({StepState.CLOSED, StepState.SKIPPED}),
    StepState.SKIPPED: frozenset({StepState.CLOSED}),
    StepState.EMPTY: frozenset({StepState.CLOSED}),
    StepState.ABORTED: frozenset({StepState.CLOSED}),
    StepState.CLOSED: frozenset(),
}


class StepTransaction:
    """One step from OPEN to CLOSED, as a context: gradients are cleared on entry and on exit.

    Args:
        clear_gradients: drops every gradient.
        roll_back: restores what the step changed before it was aborted (random state, buffers).
    """

    def __init__(self, *, clear_gradients: Callable[[], None], roll_back: Callable[[], None]) -> None:
        self.state = StepState.OPEN
        self.outcome: StepState | None = None
        self._clear_gradients = clear_gradients
        self._roll_back = roll_back

    @property
    def is_closed(self) -> bool:
        """True once the step has ended and the model may be read, saved or stepped again."""
        return self.state is StepState.CLOSED

    def advance(self, state: StepState) -> None:
        """Go on to the next state of the diagram; any other state is a defect of the engine."""
        assert state in NEXT_STATES[self.state], f"a step cannot go from {self.state.name} to {state.name}"
        if state is StepState.ABORTED:
            self._roll_back()
        if state is StepState.CLOSED:
            self.outcome = self.state
        self.state = state

    def __enter__(self) -> "StepTransaction":
        assert self.state is StepState.OPEN, "a step is opened once"
        self._clear_gradients()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear_gradients()
        if error is None:
            self.advance(StepState.CLOSED)
        elif StepState.ABORTED in NEXT_STATES[self.state]:
            self.advance(StepState.ABORTED)
            self.advance(StepState.CLOSED)
        elif self.state is not StepState.COMMITTED:
            self.advance(StepState.CLOSED)
