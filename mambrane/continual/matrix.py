"""The forgetting matrix: every domain measured after every task.

    L[i, j] = the measure (bits per byte, for text) on what is held out of domain j after i tasks;   row 0: untrained

In a stream that stays open it grows: a task brings a row, and a column for each domain that nobody knew; a task that is
taken back takes them along. A cell that cannot be measured stays empty with a reason. Details such as perplexities are
kept for display and never averaged. forgetting_metrics.py has the numbers that are made of the cells.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mambrane.continual.forgetting_metrics import ForgettingMetrics, Table, UndefinedError, mean
from mambrane.continual.measure import BITS_PER_BYTE, Measure, Measurement
from mambrane.core.errors import UserError
from mambrane.storage.atomic_files import atomic_write_text

JOINT_NAME = "joint"
"""Name of a task that learns several domains at once."""


class ForgettingMatrix(ForgettingMetrics):
    """`num_tasks + 1` rows of measured values on every domain; cells are None until measured."""

    def __init__(
        self,
        domains: Sequence[str],
        num_tasks: int,
        measure: Measure = BITS_PER_BYTE,
        *,
        task_columns: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Make an empty matrix.

        Args:
            domains: their names, a column each.
            num_tasks: tasks, a row each.
            measure: what the cells hold.
            task_columns: the columns that each task learns; left out: task j learns column j, or, where there are more
                or fewer domains than tasks, each task learns all.
        """
        self.domains = tuple(domains)
        self.measure = measure
        if task_columns is None:
            all_columns = tuple(range(len(self.domains)))
            one_each = num_tasks == len(self.domains)
            task_columns = [(task,) if one_each else all_columns for task in range(num_tasks)]
        self.task_columns = tuple(tuple(columns) for columns in task_columns)
        assert len(self.task_columns) == num_tasks, f"{num_tasks} tasks, columns of {len(self.task_columns)}"
        self.values = self._empty_table()
        self.details: dict[str, Table] = {}
        """Numbers shown beside the values, by name: perplexity."""
        self.reasons = {}
        self.reference = {}
        self.is_of_one_model = True

    def _empty_table(self) -> Table:
        return [[None] * len(self.domains) for _ in range(self.num_tasks + 1)]

    def record(self, row: int, column: int, measured: Measurement) -> None:
        """Fill the cell of one domain after `row` tasks."""
        self.values[row][column] = measured.value
        for name, value in measured.details.items():
            self.details.setdefault(name, self._empty_table())[row][column] = value

    def record_reference(self, row: int, name: str, measured: Measurement) -> None:
        """Note the measure on a text outside the tasks after `row` tasks."""
        self.reference.setdefault(name, [None] * (self.num_tasks + 1))[row] = measured.value

    def has_reference(self, row: int, name: str) -> bool:
        """Whether a text outside the tasks is measured after `row` tasks."""
        return name in self.reference and self.reference[name][row] is not None

    def leave_empty(self, row: int, column: int, reason: str) -> None:
        """Say why a cell is not measured and will not be."""
        self.reasons[row, column] = reason

    def grow(self, domains: Sequence[str], task_columns: Sequence[Sequence[int]]) -> None:
        """Add a column for each new domain and a row for each new task, all cells empty."""
        self.domains = (*self.domains, *domains)
        self.task_columns = (*self.task_columns, *map(tuple, task_columns))
        for table in self._tables.values():
            for row in table:
                row.extend([None] * len(domains))
            table.extend([None] * len(self.domains) for _ in task_columns)
        for rows in self.reference.values():
            rows.extend([None] * len(task_columns))

    def drop_task(self, task: int) -> None:
        """Remove a task's row, and the columns that no other task learns."""
        others = {column for number, columns in enumerate(self.task_columns) if number != task for column in columns}
        kept = [
            column for column in range(len(self.domains)) if column in others or column not in self.task_columns[task]
        ]
        place = {column: number for number, column in enumerate(kept)}
        for table in self._tables.values():
            del table[task + 1]
            table[:] = [[row[column] for column in kept] for row in table]
        for rows in self.reference.values():
            del rows[task + 1]
        self.domains = tuple(self.domains[column] for column in kept)
        self.task_columns = tuple(
            tuple(place[column] for column in columns)
            for number, columns in enumerate(self.task_columns)
            if number != task
        )
        self.reasons = {
            (row - (row > task + 1), place[column]): reason
            for (row, column), reason in self.reasons.items()
            if row != task + 1 and column in place
        }

    def missing(self, row: int) -> list[int]:
        """Return the columns of the row that are not measured yet, without those that stay empty."""
        return [
            column for column, cell in enumerate(self.values[row]) if cell is None and (row, column) not in self.reasons
        ]

    @property
    def has_values(self) -> bool:
        """Whether any cell is measured."""
        return any(cell is not None for row in self.values for cell in row)

    def task_name(self, task: int) -> str:
        """Return the name of a task: that of its domain, or JOINT_NAME."""
        columns = self.task_columns[task]
        if len(columns) != 1:
            return JOINT_NAME
        name = self.domains[columns[0]]
        return name if self.own_row(columns[0]) == task + 1 else f"{name} again"

    def value_after(self, task: int) -> float | None:
        """Return the value of a task's own domain right after it; None where it has several, or is not measured."""
        if not 0 <= task < self.num_tasks or len(self.task_columns[task]) != 1:
            return None
        return self.values[task + 1][self.task_columns[task][0]]

    def change(self, row: int, columns: Iterable[int]) -> float | None:
        """Return by how much the loss on some domains rose with the task before `row`, on average.

        Positive is a loss. None where there is no such domain.

        Raises:
            UserError: one of them is not measured before or after the task.
        """
        try:
            changes = [self.loss(row, column) - self.loss(row - 1, column) for column in columns]
        except UndefinedError as undefined:
            raise UserError(
                str(undefined), wanted="every domain measured before and after the task", way_out="keep held-out text"
            ) from undefined
        return mean(changes) if changes else None

    @property
    def _tables(self) -> dict[str, Table]:
        """The values by the name of their measure, and each detail by its own."""
        return {self.measure.name: self.values, **self.details}

    def state_dict(self) -> dict[str, Any]:
        """Return the whole matrix as JSON values, each table by its name: bits_per_byte, perplexity."""
        return {
            "domains": list(self.domains),
            "num_tasks": self.num_tasks,
            "task_columns": [list(columns) for columns in self.task_columns],
            "reasons": [[row, column, reason] for (row, column), reason in sorted(self.reasons.items())],
            "measure": dataclasses.asdict(self.measure),
            "details": list(self.details),
            "reference": {name: list(rows) for name, rows in self.reference.items()},
            "is_of_one_model": self.is_of_one_model,
            **{name: [list(row) for row in table] for name, table in self._tables.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the cells back; raises ValueError when they belong to other domains or tasks."""
        # Versions that did not write it measured bits per byte.
        earlier = {
            "measure": dataclasses.asdict(BITS_PER_BYTE),
            "details": ["perplexity"],
            "reasons": [],
            "reference": {},
        }
        state = {**earlier, **state}
        saved_columns = tuple(map(tuple, state.get("task_columns", self.task_columns)))
        if (tuple(state["domains"]), state["num_tasks"], saved_columns) != (
            self.domains,
            self.num_tasks,
            self.task_columns,
        ):
            raise ValueError(
                f"saved matrix: {state['num_tasks']} tasks over {state['domains']}; "
                f"this run: {self.num_tasks} tasks over {list(self.domains)}"
            )
        self.measure = Measure(**state["measure"])
        self.values = [list(row) for row in state[self.measure.name]]
        self.details = {name: [list(row) for row in state[name]] for name in state["details"]}
        self.reasons = {(row, column): reason for row, column, reason in state["reasons"]}
        self.reference = {name: list(rows) for name, rows in state["reference"].items()}
        self.is_of_one_model = state.get("is_of_one_model", True) is not False

    def save(self, path: Path) -> None:
        """Write matrix.json, cells and metrics, so that readers see the old file or the new one and nothing between.

        Raises:
            StorageError: the disk refused; the old file is untouched.
        """
        content = {
            **self.state_dict(),
            "unit": f"{self.measure.title}; row i: after i tasks, row 0: before training",
            "metrics": {name: metric._asdict() for name, metric in self.metrics().items()},
            "lost_gain_fractions": {name: metric._asdict() for name, metric in self.lost_gain_fractions().items()},
        }
        atomic_write_text(path, json.dumps(content, indent=2) + "\n")
