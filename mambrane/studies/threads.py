"""How many threads each run of a study has: as many as its first ones had, or were asked for, or its part of the cores.

With another number of threads a run rounds in other ways, so a study keeps the number that it began with.
"""

import json
import os
from pathlib import Path

from mambrane.core.errors import UserError, damaged_file
from mambrane.core.events import EventLog
from mambrane.core.ordinary_files import read_ordinary
from mambrane.storage.atomic_files import atomic_write_text

FILE = "study.json"
VARIABLE = "OMP_NUM_THREADS"


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of_runs(folder: Path, *, jobs: int, num_cells: int, events: EventLog) -> int:
    """Return the threads of each run; warns where OMP_NUM_THREADS comes too late for the study in this folder.

    Args:
        folder: the study's.
        jobs: runs side by side; 0: as many as there are cores.
        num_cells: runs of the study in all.
        events: hears the warning.

    Raises:
        UserError: OMP_NUM_THREADS is not a number of threads, or study.json is damaged.
    """
    kept, asked = _kept_threads(folder), _asked_threads()
    if kept and asked and asked != kept:
        message = (
            f"runs of this study have {kept} threads, as its first ones had; {VARIABLE}={asked} needs another folder"
        )
        events.emit("warning", message=message)
    return kept or asked or max(1, num_cores() // min(jobs or num_cores(), num_cells))


def keep_threads(folder: Path, threads: int) -> None:
    """Write down how many threads each run of the study has."""
    atomic_write_text(folder / FILE, json.dumps({"threads": threads}) + "\n")


def _kept_threads(folder: Path) -> int | None:
    """Return what `keep_threads` wrote; None where the study has not begun."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        threads = json.loads(read_ordinary(path))["threads"]
        if type(threads) is not int or threads < 1:
            raise ValueError(f"{str(threads)[:20]} threads")
    # A file of any content: every wrong type or shape shows as one of these.
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged_file(
            path,
            error,
            wanted="the number of threads that runs of the study have",
            way_out=f"remove the file, and set {VARIABLE} to the threads that finished runs had, if there are any",
        ) from error
    return threads


def _asked_threads() -> int | None:
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    # OpenMP takes a list too, a number for each level of nested regions; runs have one level.
    first = text.split(",")[0].strip()
    if not first.isdecimal() or int(first) < 1:
        raise UserError(f"{VARIABLE}={text}", wanted="a number of threads from 1", way_out=f"unset {VARIABLE}")
    return int(first)
