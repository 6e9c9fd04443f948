"""The event log: every fact of a run as one JSON line, in the order it happened.

Nothing is silent: a skipped window, a chosen kernel, a replaced setting, a saved checkpoint is an event. Listeners
(the console, TensorBoard) read the same events; they never receive anything that is not in the file. A log that cannot
be written ends the run with an error that says what to do.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError

Event = dict[str, Any]
"""{"time_s": seconds since 1970, "event": kind, ...fields}"""


class EventLogError(UserError):
    """The event log cannot be written; what the run has saved is untouched."""


class EventLog:
    """Appends events to a file, if there is one, and hands them to listeners."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.listeners: list[Callable[[Event], None]] = []
        self._file = None
        self._has_torn_line = False
        if path is not None:
            with _log_errors(path):
                self._has_torn_line = _ends_in_torn_line(path)
                # Unbuffered: nothing is held back that a kill or a full disk could take away later.
                self._file = path.open("ab", buffering=0)

    def emit(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- any JSON value
        """Write one event. Values must be JSON: numbers, text, lists, dicts; non-finite numbers become text.

        Raises:
            EventLogError: the file cannot be written; no listener has heard of the event.
        """
        event = {"time_s": round(time.time(), 3), "event": kind, **fields}
        if self._file is not None:
            self._write_line(json.dumps(_finite(event), allow_nan=False))
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        """Close the file; later events reach the listeners only."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_line(self, text: str) -> None:
        line = memoryview(("\n" * self._has_torn_line + text + "\n").encode())
        self._has_torn_line = True
        with _log_errors(self.path):
            while line:
                line = line[self._file.write(line) :]
        self._has_torn_line = False


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a log; a torn last line, left by a kill, is passed over."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def _ends_in_torn_line(path: Path) -> bool:
    """Return whether a killed process left a line unfinished, so that the next event must start on its own."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


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
