"""Runs of a study side by side: each in a process of its own, as many as there are cores, the next when one ends."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import mambrane
from mambrane.settings.config import to_dict
from mambrane.storage.run_folder import InUseError, RunFolder
from mambrane.studies.study import Cell

LOG_FILE = "study.log"
"""What a run's process wrote to standard error, in the folder of the run."""
POLL_S = 0.1
LONGEST_WAIT_S = 300.0
"""For a process of an earlier session that still saves."""
LAST_LINES = 12


class Ended(NamedTuple):
    """How the process of a run ended."""

    cell: Cell
    exit_code: int
    message: str
    """The last lines that it wrote; empty for most."""


class _Running(NamedTuple):
    cell: Cell
    process: subprocess.Popen[bytes]


def run_cells(
    cells: Iterable[Cell],
    *,
    jobs: int,
    threads: int,
    should_stop: Callable[[], bool],
    started: Callable[[Cell], None],
) -> Iterator[Ended]:
    """Yield each run as it ends; once a stop is asked for, none is started and all that run are asked to save."""
    waiting, running = list(cells), list[_Running]()
    try:
        while waiting or running:
            if should_stop():
                waiting.clear()
                _ask_to_stop(running)
            while waiting and len(running) < jobs and not should_stop():
                cell = waiting.pop(0)
                if _wait_until_free(cell.folder, should_stop):
                    running.append(_Running(cell, _start(cell, threads)))
                    started(cell)
            ended = [one for one in running if one.process.poll() is not None]
            for one in ended:
                running.remove(one)
                _close_input(one.process)
                yield Ended(one.cell, one.process.returncode, _last_lines(one.cell.folder / LOG_FILE))
            if not ended:
                time.sleep(POLL_S)
    finally:
        # However this is left, no run trains on without its study.
        _ask_to_stop(running)
        for one in running:
            one.process.wait()


def _start(cell: Cell, threads: int) -> "subprocess.Popen[bytes]":
    cell.folder.mkdir(parents=True, exist_ok=True)
    package = str(Path(mambrane.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths)}
    with (cell.folder / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mambrane.studies.one_run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
            # Ctrl-C is for the study, which asks its runs to stop; they do not hear it themselves.
            start_new_session=True,
        )
    assert process.stdin is not None, "it was asked for"
    # A process that has ended already reads nothing; its exit code says more.
    with suppress(OSError):
        process.stdin.write(json.dumps(to_dict(cell.config)).encode() + b"\n")
        process.stdin.flush()
    return process


def _ask_to_stop(running: Iterable[_Running]) -> None:
    for one in running:
        _close_input(one.process)


def _close_input(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _wait_until_free(folder: Path, should_stop: Callable[[], bool]) -> bool:
    """Return True once no process of an earlier session holds the run; False if a stop is asked for meanwhile."""
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not should_stop():
        try:
            with RunFolder(folder).lock():
                return True
        except InUseError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)
    return False


def _last_lines(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LAST_LINES:])
