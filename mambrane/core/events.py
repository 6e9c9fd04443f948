"""The event log: every fact of a run as one JSON line, in the order it happened.

Nothing is silent: a skipped step, a chosen kernel, a replaced setting, a saved checkpoint is an event. Listeners
(the console, TensorBoard) read the same events; they never receive anything that is not in the file. A listener that
fails is reported once and called no more: whoever watches a run cannot end it. A log that cannot be written ends the
run with an error that says what to do.
"""

import errno
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from io import FileIO
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Protocol, runtime_checkable

from mambrane.core.errors import UserError
from mambrane.core.ordinary_files import open_ordinary
from mambrane.core.renamed import with_present_event_names

Event = dict[str, Any]
"""{"time_s": seconds since 1970, "event": kind, ...fields}"""

BLOCK_BYTES = 1 << 16
"""What is read at a time to find the last line."""


class EventLogError(UserError):
    """The event log cannot be written; what the run has saved is untouched."""


@runtime_checkable
class ClosableListener(Protocol):
    """A listener that holds something until the end of a run."""

    def __call__(self, event: Event) -> None:
        """Take one event in."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class EventLog:
    """Appends events to a file, if there is one, and hands them to listeners."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.listeners: list[Callable[[Event], None]] = []
        self._file: FileIO | None = None
        if path is not None:
            with _log_errors(path):
                # Opening one would wait for ever for a reader.
                if path.is_fifo():
                    raise OSError(errno.EINVAL, "a named pipe, not an ordinary file", str(path))
                # Unbuffered: nothing is held back that a kill or a full disk could take away later.
                self._file = path.open("ab", buffering=0)
                _end_last_line(path, self._file)

    def emit(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- any JSON value
        """Write one event. Values must be JSON: numbers, text, lists, dicts; non-finite numbers become text.

        Raises:
            EventLogError: the file cannot be written; no listener has got the event.
        """
        event = {"time_s": round(time.time(), 3), "event": kind, **fields}
        if self._file is not None and self.path is not None:
            with _log_errors(self.path):
                _append_line(self._file, json.dumps(_finite(event), allow_nan=False))
        failures: list[tuple[object, BaseException]] = []
        for listener in tuple(self.listeners):
            try:
                # A copy of its own: what a listener does to it reaches no other.
                listener(deepcopy(event))
            except KeyboardInterrupt:
                raise
            # Of every kind: rich answers a closed pipe with SystemExit, asyncio raises CancelledError.
            except BaseException as error:
                self._remove(listener)
                failures.append((listener, error))
        for failed, failure in failures:
            self._tell_failure(failed, failure)

    def close_listener(self, listener: ClosableListener) -> None:
        """Close a listener; a failure is told like one during the run."""
        self._remove(listener)
        try:
            listener.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._tell_failure(listener, error)

    def close(self) -> None:
        """Close the file; later events reach the listeners only."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remove(self, listener: object) -> None:
        # By identity: what a listener calls equal is its own affair.
        self.listeners = [each for each in self.listeners if each is not listener]

    def _tell_failure(self, listener: object, error: BaseException) -> None:
        name = listener.__qualname__ if isinstance(listener, FunctionType | MethodType) else type(listener).__name__
        cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ is not None else error
        try:
            words = f"{type(cause).__name__}: {cause}"
        except Exception:
            words = type(cause).__name__
        message = f"{name} failed ({words}) and shows nothing from here on; the run itself goes on"
        # The failed listener may have been the only one on the screen; logging reaches standard error without one.
        logging.getLogger("mambrane").warning(message)
        self.emit("listener_failed", listener=name, message=message)


def read_events(path: Path, *, tell_damage: Callable[[str], None] = lambda sentence: None) -> Iterator[Event]:
    """Yield the events of a log; a torn last line, left by a kill, is passed over.

    Args:
        path: the log.
        tell_damage: called at the end with a sentence on the other lines that are no events, if there are any.

    Raises:
        UserError: the file cannot be read.
    """
    unreadable: list[int] = []
    number = 0
    try:
        with open_ordinary(path) as lines:
            for number, line in enumerate(lines, start=1):
                event = _parse_line(line)
                if event is not None:
                    yield event
                elif line.endswith(b"\n"):
                    unreadable.append(number)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}",
            wanted="the event log of a run",
            way_out="make it readable, or restore it from a copy",
        ) from error
    if unreadable:
        tell_damage(
            f"{path}: {len(unreadable):,} of {number:,} lines cannot be read and are left out, the first is line "
            f"{unreadable[0]:,}"
        )


WHOLE_NUMBERS = frozenset({"step", "task", "row", "epoch", "epochs", "steps", "num_tasks", "parameters", "tokens"})
NUMBERS = frozenset(
    {"loss", "bits_per_byte", "tokens_per_s", "gradient_norm", "learning_rate", "scale", "firing_rate", "time_s"}
)
TEXTS = frozenset({"name", "state", "reason", "message", "domain"})
GROUPS_OF_NUMBERS = frozenset({"numbers", "terms", "penalties"})
OBJECTS = frozenset({"environment", "config"})
"""Fields that readers of a log count on, by what they hold; a line where one holds something else is damaged."""


def _parse_line(line: bytes) -> Event | None:
    """Return the event of a line, or None where it is none."""
    try:
        event = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    event = with_present_event_names(event)
    # A matrix holds whole tables by the names that are single numbers elsewhere.
    checked = {"time_s": event.get("time_s")} if event["event"] == "matrix" else event
    return event if all(_is_right(name, value) for name, value in checked.items()) else None


def _is_right(name: str, value: Any) -> bool:  # noqa: ANN401 -- any JSON value
    if name in WHOLE_NUMBERS:
        return type(value) is int and abs(value) < 2**63
    if name in NUMBERS:
        return value is None or _is_number(value)
    if name in TEXTS:
        return isinstance(value, str)
    if name in GROUPS_OF_NUMBERS:
        return isinstance(value, dict) and all(number is None or _is_number(number) for number in value.values())
    if name == "shown_numbers":
        return isinstance(value, list) and all(
            isinstance(item, dict) and {"name", "title"} <= item.keys() for item in value
        )
    return isinstance(value, dict) if name in OBJECTS else True


def _is_number(value: Any) -> bool:  # noqa: ANN401 -- any JSON value
    """Return whether a value is a number as the log writes it: those that JSON lacks are words."""
    if isinstance(value, str):
        return value in ("nan", "inf", "-inf")
    return type(value) in (int, float) and abs(value) < 1e300


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _append_line(file: FileIO, text: str) -> None:
    """Write a whole line, or leave the file as it was."""
    line = memoryview((text + "\n").encode())
    size_before = file.seek(0, os.SEEK_END)
    try:
        while line:
            line = line[file.write(line) :]
    except OSError:
        with suppress(OSError):
            file.truncate(size_before)
        raise


def _end_last_line(path: Path, file: FileIO) -> None:
    """End a last line that is whole but for its end, and remove what a kill left of one that is not."""
    if not path.is_file():
        return
    with path.open("rb") as reader:
        size = reader.seek(0, os.SEEK_END)
        start, tail = size, b""
        while start > 0 and b"\n" not in tail:
            length = min(BLOCK_BYTES, start)
            start = reader.seek(start - length)
            tail = reader.read(length) + tail
    rest = tail.rpartition(b"\n")[2]
    if rest and _parse_line(rest) is not None:
        file.write(b"\n")
    elif rest:
        file.truncate(size - len(rest))


@contextmanager
def _log_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EventLogError(
            f"writing {path}: {error.strerror or error}",
            wanted="a log of every event of the run",
            way_out=f"free some space on the disk of {path}, or make it writable; then run the same command again: it "
            "resumes from the newest checkpoint",
        ) from error


def _finite(value: Any) -> Any:  # noqa: ANN401 -- walks any JSON value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
