"""Where a run keeps its checkpoints, matrix.json and tasks.json; what is left out is not kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.progress import Progress
from mambrane.continual.stream import Stream
from mambrane.continual.task_file import write_tasks
from mambrane.continual.task_records import task_records


def _nothing(*arguments: object) -> None:
    """Do nothing, for a run without checkpoints."""


@dataclass(frozen=True, kw_only=True)
class RunStorage:
    """What the runner calls to keep itself, and to go back."""

    save: Callable[[], object] = _nothing
    """Writes a checkpoint of the trainer and the runner; may go on writing after it has returned."""
    poll_save: Callable[[], object] = _nothing
    """Called after each step; reports a save that has ended meanwhile, or raises its error."""
    pin: Callable[[int | None], object] = _nothing
    """Keeps the checkpoint of a step from being pruned, until it is called again; None is no step."""
    put_back: Callable[[int, dict[str, Any]], object] = _nothing
    """Makes the checkpoint of a step the newest again, with this state of the runner, and brings the trainer to it."""
    matrix_path: Path | None = None
    tasks_path: Path | None = None

    def write_files(self, stream: Stream, matrix: ForgettingMatrix, progress: Progress) -> None:
        """Bring the files that are read without a checkpoint up to date."""
        if self.matrix_path is not None:
            matrix.save(self.matrix_path)
        if self.tasks_path is not None:
            records = task_records(stream, matrix, progress.num_learned, progress.steps_taken)
            write_tasks(self.tasks_path, records, progress.attempts)


NOT_KEPT = RunStorage()
