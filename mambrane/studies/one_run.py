"""One run of a study, in a process of its own: `python -m mambrane.studies.one_run`.

Its configuration comes on standard input, which stays open as long as the study goes on. When that ends, because the
study was stopped or killed, the run is asked to stop as by SIGTERM: it saves and leaves. So a study that dies leaves no
run behind that trains on.
"""

import json
import signal
import sys
import threading
from pathlib import Path

from mambrane.core.errors import MambraneError
from mambrane.core.events import Event
from mambrane.core.memory import keep_freed_memory
from mambrane.settings.config import from_dict
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.studies.cost import PEAK_MEMORY_FILE, peak_memory_bytes, saved_peak_memory
from mambrane.training.train import train

USER_ERROR_EXIT_CODE = 2


def main() -> int:
    """Train, or go on with, the run whose configuration comes first on standard input; returns the exit code."""
    line = sys.stdin.readline()
    if not line:
        return 128 + signal.SIGTERM
    threading.Thread(target=_stop_when_input_ends, daemon=True).start()
    keep_freed_memory()
    try:
        config = from_dict(json.loads(line), source="the study")
        outcome = train(config, listeners=[_NotesPeakMemory(config.folder / PEAK_MEMORY_FILE)]).outcome
    except MambraneError as error:
        sys.stderr.write(f"{error}\n")
        return USER_ERROR_EXIT_CODE
    assert outcome is not None, "a run that was trained has one"
    return outcome.exit_code


class _NotesPeakMemory:
    """Listener: keeps the most memory that a session of the run has taken, at every row of the matrix."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, event: Event) -> None:
        peak = peak_memory_bytes()
        if event["event"] == "matrix" and peak is not None:
            peak = max(peak, saved_peak_memory(self._path.parent) or 0)
            atomic_write_text(self._path, json.dumps({"peak_memory_bytes": peak}) + "\n")


def _stop_when_input_ends() -> None:
    while sys.stdin.readline():
        pass
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
