"""Stopping on request: signals set a flag; the engine looks at it and stops at a place of its choice.

    signal            effect
    SIGTERM           the flag, however often
    SIGHUP            the flag, however often: the terminal has gone; where it is ignored (nohup) it stays ignored
    SIGINT, 1st, 2nd  the flag
    SIGINT, 3rd       KeyboardInterrupt where the program stands: the program ends at once, and what is on the disk
                      stays valid, because a save that is broken off leaves the checkpoints before it untouched

Nothing is saved, printed or sent from inside a handler. The exit code of a stopped run is 128 + signal number, as the
shell reports it (POSIX.1-2017, Shell Command Language, 2.8.2).
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from mambrane.core.events import EventLog

WATCHED_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if name in signal.Signals.__members__
)
"""Windows has no SIGHUP."""
INTERRUPTS_THAT_END_AT_ONCE = 3
"""The SIGINT that raises KeyboardInterrupt."""


class StopRequest:
    """Watches the signals for the length of a `with` block; afterwards the handlers before it are back.

    Outside the main thread Python hands out no signals: the block then watches none and says so in the event log.
    """

    def __init__(self, events: EventLog) -> None:
        self.signal_number: int | None = None
        """The first signal that came, or None."""
        self._events = events
        self._num_interrupts = 0
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the run should stop."""
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        """128 + number of the signal that asked to stop; 0 while none did."""
        return 0 if self.signal_number is None else 128 + self.signal_number

    def request(self, signal_number: int) -> None:
        """Ask to stop as if this signal had come; the first one counts."""
        if self.signal_number is None:
            self.signal_number = int(signal_number)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            self._events.emit("signals_not_watched", reason="not in the main thread")
            return self
        for number in WATCHED_SIGNALS:
            if number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.request(number)
        if number == signal.SIGINT:
            self._num_interrupts += 1
            if self._num_interrupts >= INTERRUPTS_THAT_END_AT_ONCE:
                raise KeyboardInterrupt
