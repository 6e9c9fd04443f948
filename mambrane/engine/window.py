"""The window: the micro-batches that share one optimizer step, as an object and as a transaction.

    OPEN -> ACCUMULATING -> REDUCED -> UNSCALED -> CLIPPED -> COMMITTED --> CLOSED
                               |           |                                ^
                               |           +------------> SKIPPED ----------+   a gradient was not finite
                               +------------------------> EMPTY ------------+   nothing to learn from
     any state before COMMITTED ------------------------> ABORTED ----------+   interrupted, or an exception

A window holds at least one micro-batch, so a step is taken if and only if a window closed with something in it. No
length, no modulo and no loss value decides. COMMITTED is the point of no return: what fails after it leaves the
transaction open for ever, and nothing can be saved from it.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, StrEnum
from itertools import chain, islice
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class TailPolicy(StrEnum):
    """What becomes of a last window with fewer micro-batches than the others."""

    STEP = "step"
    """Step with what there is."""
    DROP = "drop"
    """Leave it out."""
    CARRY = "carry"
    """Put it in front of the next epoch."""


class Window(Generic[Item]):
    """Up to `size` items in order: the first is at hand, the others are fetched as the window is read (once)."""

    def __init__(self, first: Item, rest: Iterator[Item]) -> None:
        self.first = first
        self._rest = rest

    def __iter__(self) -> Iterator[Item]:
        return chain((self.first,), self._rest)


class Windows(Generic[Item]):
    """Groups any stream into windows of `size` items; only the last one may be shorter.

    STEP reads one item ahead and no more: the one that shows that there is another window. DROP and CARRY must know
    that a window is whole before it is opened, so they read one window ahead; what is left over stays in `leftover`.
    """

    def __init__(self, items: Iterable[Item], size: int, tail: TailPolicy) -> None:
        assert size >= 1, f"a window of {size} items"
        self.leftover: list[Item] = []
        self._windows = self._as_they_come(items, size) if tail is TailPolicy.STEP else self._whole(items, size)

    def __iter__(self) -> Iterator[Window[Item]]:
        return self._windows

    def _as_they_come(self, items: Iterable[Item], size: int) -> Iterator[Window[Item]]:
        # A generator stays exhausted; other iterators may wake up again after their end.
        stream = (item for item in items)
        for first in stream:
            yield Window(first, islice(stream, size - 1))

    def _whole(self, items: Iterable[Item], size: int) -> Iterator[Window[Item]]:
        stream = (item for item in items)
        for first in stream:
            group = [first, *islice(stream, size - 1)]
            if len(group) < size:
                self.leftover = group
            else:
                yield Window(first, iter(group[1:]))


class WindowState(Enum):
    """Where a window stands between its opening and its close."""

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


NEXT_STATES: dict[WindowState, frozenset[WindowState]] = {
    WindowState.OPEN: frozenset({WindowState.ACCUMULATING, WindowState.ABORTED}),
    WindowState.ACCUMULATING: frozenset({WindowState.REDUCED, WindowState.ABORTED}),
    WindowState.REDUCED: frozenset({WindowState.UNSCALED, WindowState.EMPTY, WindowState.ABORTED}),
    WindowState.UNSCALED: frozenset({WindowState.CLIPPED, WindowState.SKIPPED, WindowState.ABORTED}),
    WindowState.CLIPPED: frozenset({WindowState.COMMITTED, WindowState.ABORTED}),
    WindowState.COMMITTED: frozenset({WindowState.CLOSED}),
    WindowState.SKIPPED: frozenset({WindowState.CLOSED}),
    WindowState.EMPTY: frozenset({WindowState.CLOSED}),
    WindowState.ABORTED: frozenset({WindowState.CLOSED}),
    WindowState.CLOSED: frozenset(),
}


class WindowTransaction:
    """One window from OPEN to CLOSED, as a context: gradients are cleared on entry and on exit.

    Args:
        clear_gradients: drops every gradient.
        roll_back: gives back what the window changed before it was aborted (random state, buffers).
    """

    def __init__(self, *, clear_gradients: Callable[[], None], roll_back: Callable[[], None]) -> None:
        self.state = WindowState.OPEN
        self.outcome: WindowState | None = None
        self._clear_gradients = clear_gradients
        self._roll_back = roll_back

    @property
    def is_closed(self) -> bool:
        """True once the window has ended and the model may be read, saved or stepped again."""
        return self.state is WindowState.CLOSED

    def advance(self, state: WindowState) -> None:
        """Go on to the next state of the diagram; any other state is a defect of the engine."""
        assert state in NEXT_STATES[self.state], f"a window cannot go from {self.state.name} to {state.name}"
        if state is WindowState.ABORTED:
            self._roll_back()
        if state is WindowState.CLOSED:
            self.outcome = self.state
        self.state = state

    def __enter__(self) -> "WindowTransaction":
        assert self.state is WindowState.OPEN, "a window is opened once"
        self._clear_gradients()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear_gradients()
        if error is None:
            self.advance(WindowState.CLOSED)
        elif WindowState.ABORTED in NEXT_STATES[self.state]:
            self.advance(WindowState.ABORTED)
            self.advance(WindowState.CLOSED)
        elif self.state is not WindowState.COMMITTED:
            self.advance(WindowState.CLOSED)
