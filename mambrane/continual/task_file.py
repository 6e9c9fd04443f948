"""tasks.json: what a run has learned task by task, and what it learned and took back, for readers of its folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.core.errors import damaged_file
from mambrane.core.ordinary_files import read_ordinary
from mambrane.storage.atomic_files import atomic_write_text


class TaskRecords(NamedTuple):
    """The tasks of a run, in order."""

    tasks: list[dict[str, Any]]
    """name, num_epochs, visit, settings, content_hashes, is_learned; of a learned one steps, forgetting and gain."""
    attempts: list[dict[str, Any]]
    """The same of tasks that were taken back, with the reason, and each domain before and after."""


def write_tasks(path: Path, tasks: Sequence[dict[str, Any]], attempts: Sequence[dict[str, Any]]) -> None:
    """Write tasks.json so that readers see the old file or the new one and nothing between.

    Raises:
        StorageError: the disk refused; the old file is untouched.
    """
    content = {"tasks": list(tasks), "attempts": list(attempts)}
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")


def read_tasks(path: Path) -> TaskRecords:
    """Return what `write_tasks` wrote; of a run of a version that wrote none, nothing.

    Raises:
        UserError: the file cannot be read, or is no such file.
    """
    try:
        content = json.loads(read_ordinary(path))
        for task in (*content["tasks"], *content["attempts"]):
            _check(task)
        for attempt in content["attempts"]:
            _check_attempt(attempt)
        return TaskRecords(content["tasks"], content["attempts"])
    except FileNotFoundError:
        return TaskRecords([], [])
    # A file of any content: every wrong type or shape shows as one of these.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged_file(
            path,
            error,
            wanted="the tasks of the run",
            way_out="run the train command again, which writes it anew, or restore the file from a copy",
        ) from error


def _check(task: dict[str, Any]) -> None:
    if not isinstance(task["name"], str) or type(task["num_epochs"]) is not int:
        raise ValueError("a task without a name or epochs")
    for name in ("forgetting", "gain"):
        if not isinstance(task.get(name), int | float | None):
            raise ValueError(f"{name} {str(task[name])[:20]}")


def _check_attempt(attempt: dict[str, Any]) -> None:
    if not isinstance(attempt["reason"], str):
        raise ValueError("an attempt without a reason")
    for part in ("before", "after"):
        if not all(isinstance(value, int | float | None) for value in attempt[part].values()):
            raise ValueError(f"{part} a task: no numbers")
