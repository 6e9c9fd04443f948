"""The event log: every fact of a run as one JSON line, in the order it happened.

Nothing is silent: a skipped window, a chosen kernel, a replaced setting, a saved checkpoint is an event. Listeners
(the console, TensorBoard) read the same events; they never receive anything that is not in the file.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]
"""{"time_s": seconds since 1970, "event": kind, ...fields}"""


class EventLog:
    """Appends events to a file, if there is one, and hands them to listeners."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.listeners: list[Callable[[Event], None]] = []
        self._file = None
        if path is not None:
            _end_torn_line(path)
            self._file = path.open("a", encoding="utf-8")

    def emit(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 -- any JSON value
        """Write one event. Values must be JSON: numbers, text, lists, dicts; non-finite numbers become text."""
        event = {"time_s": round(time.time(), 3), "event": kind, **fields}
        if self._file is not None:
            self._file.write(json.dumps(_finite(event), allow_nan=False) + "\n")
            self._file.flush()
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        """Close the file; later events reach the listeners only."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a log; a torn last line, left by a kill, is passed over."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def _end_torn_line(path: Path) -> None:
    """End a line that a killed process left unfinished, so that the next event starts on its own line."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _finite(value: Any) -> Any:  # noqa: ANN401 -- walks any JSON value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
