"""Where a run stands: the tasks that its newest checkpoint knows, and with what the next one is learned.

Versions that could not add tasks saved no records of them; those follow from what the run began with.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from mambrane.continual.matrix import JOINT_NAME
from mambrane.continual.progress import Phase
from mambrane.continual.stream import split_epochs
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.renamed import with_present_state_names
from mambrane.settings.config import RunConfig
from mambrane.settings.task_settings import NEVER, for_learning
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.checkpoint_files import Checkpoint
from mambrane.storage.run_folder import RunFolder


class Place(NamedTuple):
    """Where a run stands, by its newest checkpoint."""

    checkpoint: Checkpoint
    state: dict[str, Any]
    """The runner's part of it."""

    @property
    def is_done(self) -> bool:
        """Whether every task that the run knows is learned."""
        return self.state["phase"] == Phase.DONE.value

    def begins_with(self, methods: Collection[str]) -> bool:
        """Return whether the next task has not begun and has other methods, by name, than the one before.

        So it is where an added task was taken back, and others that were added with it are left.
        """
        saved = with_present_state_names(dict(self.checkpoint.parts))["extensions"]
        return self.state["phase"] == Phase.BEGIN.value and saved.keys() != set(methods)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """What is known of each task, learned or left, in order."""
        return self.state["tasks"]

    @property
    def tasks_left(self) -> list[dict[str, Any]]:
        """The task that is being learned, and those behind it."""
        return self.tasks[self.state["num_learned"] :]

    @property
    def tasks_to_begin(self) -> list[dict[str, Any]]:
        """Those of which nothing is learned yet."""
        has_begun = self.state["phase"] in (Phase.TRAIN.value, Phase.BOUNDARY.value)
        return self.tasks[self.state["num_learned"] + has_begun :]

    @property
    def text(self) -> dict[str, str]:
        """Content hash of each domain by name, in the order of the matrix."""
        return {name: self.state["text"][name] for name in self.state["matrix"]["domains"]}

    def hashes_of(self, task: Mapping[str, Any]) -> list[str]:
        """Return the content hashes of a task's text."""
        hashes = list(self.text.values())
        return [hashes[column] for column in task["columns"]]


def read_place(folder: RunFolder, began: RunConfig, events: EventLog) -> Place | None:
    """Return where the run stands; None before its first checkpoint.

    Raises:
        UserError: its checkpoints are damaged.
    """
    checkpoint = Checkpoints(folder.checkpoints_folder, events=events).load_newest()
    if checkpoint is None:
        if folder.matrix_file.exists():
            message = f"there is no checkpoint in {folder.checkpoints_folder}: the run begins anew"
            events.emit("warning", message=message)
        return None
    state = with_present_state_names(dict(checkpoint.parts))["runner"]
    if "tasks" not in state:
        state = {**state, "tasks": _tasks_of(began, state["matrix"]), "attempts": []}
    return Place(checkpoint, state)


def learned_place(folder: RunFolder, began: RunConfig, events: EventLog) -> Place:
    """Return where a run stands that is to learn more.

    Raises:
        UserError: it has learned nothing yet.
    """
    place = read_place(folder, began, events)
    if place is None:
        raise UserError(
            f"{folder.path} has no checkpoint yet",
            wanted="a run that has trained",
            way_out="run its train command again",
        )
    return place


def config_of(place: Place | None, began: RunConfig) -> RunConfig:
    """Return the configuration that the next task, or of a finished run the last one, is learned with.

    It is what the run began with, and the task's own settings; a checkpoint holds the states of its methods.
    """
    if place is None:
        return began
    task = place.tasks_left[0] if place.tasks_left else place.tasks[-1]
    # That there are earlier tasks is written down too, and follows by itself.
    own = {name: value for name, value in task["settings"].items() if name not in NEVER}
    return for_learning(began, own) if task["settings"] else began


def _tasks_of(began: RunConfig, matrix: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of the tasks that a run began with."""
    names, curriculum = matrix["domains"], began.continual.curriculum
    if matrix["num_tasks"] == 1 or not began.continual.continual_learning:
        columns = list(range(len(names)))
        name = names[0] if began.continual.continual_learning and len(names) == 1 else JOINT_NAME
        return [_first_record(name, columns, columns, began.run.epochs)]
    epochs = split_epochs(began.run.epochs, len(names))
    return [
        _first_record(
            name,
            [column],
            list(range(column + 1)) if curriculum == "cumulative" else [column],
            epochs[column],
            starts_over=curriculum == "single-task",
        )
        for column, name in enumerate(names)
    ]


def _first_record(
    name: str, columns: list[int], read_columns: list[int], num_epochs: int, *, starts_over: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "columns": columns,
        "read_columns": read_columns,
        "starts_over": starts_over,
        "num_epochs": num_epochs,
        "visit": 0,
        "settings": {},
    }
