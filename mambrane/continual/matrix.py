"""The forgetting matrix: every domain measured after every task.

    L[i, j] = the measure (bits per byte, for text) on what is held out of domain j after i tasks;   row 0: untrained

with domains j = 1..T in the order in which they are learned, domain j by task j. In a stream that stays open a task
may bring a domain that nobody knew, or come back to one: then o(j), the row after which j was first learned, takes the
place of row j below, and the gain on a domain that came late counts from its earliest row. Lower is better; a measure
of which more is better, such as an accuracy, enters with its sign turned, and averages of it come out with its own.
From the matrix:

    final average        A   = 1/T     sum_j      L[T, j]
    average incremental  AI  = 1/T     sum_i 1/i  sum_{j<=i} L[i, j]
    learned average      LA  = 1/T     sum_j      L[j, j]
    backward transfer    BWT = 1/(T-1) sum_{j<T}  (L[j, j] - L[T, j])                    positive is good
    forgetting           F   = 1/(T-1) sum_{j<T}  (L[T, j] - min_{j<=l<T} L[l, j])       negative: got better since
    forward transfer     FWT = 1/(T-1) sum_{j>1}  (L[0, j] - L[j-1, j])                  positive is good
    lost-gain fraction   N_j = (L[T, j] - L[j, j]) / (L[0, j] - L[j, j])                 1: all that was learned is lost
    intransigence        I   = 1/T     sum_j      (L[j, j] - J_j)                        J: losses of a joint model
    reference drift      D   = R[T] - min_{1<=i<=T} R[i]                                 R: text outside the tasks

Sources: Lopez-Paz and Ranzato, Gradient Episodic Memory (arXiv 1706.08840), for A, BWT, FWT; Chaudhry et al.,
Riemannian Walk (arXiv 1801.10112), for F and I, with max turned into min for losses; Riemer et al., Meta-Experience
Replay (arXiv 1810.11910), for LA; arXiv 2606.27634 for the need of D. Two definitions differ from the source on
purpose: F takes the best loss since a domain was learned (j <= l < T; the source takes it over all l < T, so that a
good start counts as something to forget), and I compares with one joint model of all T tasks (the source with a joint
model of tasks 1..j for each j). Details such as perplexities are kept for display and never averaged. A cell that
cannot be measured stays empty with a reason; a metric is undefined where a cell that it needs is empty, and asks for no
others.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.continual.measure import BITS_PER_BYTE, Measure, Measurement
from mambrane.core.errors import UserError
from mambrane.storage.atomic_files import atomic_write_text

Table = list[list[float | None]]
"""Losses by row (tasks learned) and column (domain); some may not be measured."""
Columns = tuple[int, ...]
"""Domains by their place in the matrix."""
JOINT_NAME = "joint"
"""Name of a task that learns several domains at once."""


class Metric(NamedTuple):
    """A number, or None with the reason why there is none."""

    value: float | None
    reason: str | None = None


class _UndefinedError(Exception):
    """A metric asks for what is not there; the message says what."""


class ForgettingMatrix:
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
        self.task_columns: tuple[Columns, ...] = tuple(tuple(columns) for columns in task_columns)
        assert len(self.task_columns) == num_tasks, f"{num_tasks} tasks, columns of {len(self.task_columns)}"
        self.values: Table = self._empty_table()
        """In the unit of the measure."""
        self.details: dict[str, Table] = {}
        """Numbers shown beside the values, by name: perplexity."""
        self.reasons: dict[tuple[int, int], str] = {}
        """Why a cell stays empty, by row and column."""
        self.reference: dict[str, list[float | None]] = {}
        """The measure on each text outside the tasks, by row."""
        self.is_of_one_model = True
        """Whether all rows measure one model; False where each task was learned by a model of its own."""

    @property
    def num_tasks(self) -> int:
        """Tasks, learned and planned."""
        return len(self.task_columns)

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

    def own_row(self, column: int) -> int | None:
        """Return the row after which a domain was first learned; None if no task learns it."""
        rows = (task + 1 for task, columns in enumerate(self.task_columns) if column in columns)
        return next(rows, None)

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
            changes = [self._loss(row, column) - self._loss(row - 1, column) for column in columns]
        except _UndefinedError as undefined:
            raise UserError(
                str(undefined), wanted="every domain measured before and after the task", way_out="keep held-out text"
            ) from undefined
        return _mean(changes) if changes else None

    def metrics(self, joint: Sequence[float] | None = None) -> dict[str, Metric]:
        """Return every metric by name.

        Args:
            joint: the measure on each domain of a model that has learned all of them at once, which intransigence
                compares with; without it that metric is left out. They stand in the last row of the matrix of a run
                over the same text without tasks: `load_matrix(path).values[-1]`.
        """
        sign = self.measure.sign
        metrics = {
            "final_average": _metric(self._final_average),
            "average_incremental": _metric(lambda: sign * self._average_incremental()),
            "learned_average": _metric(lambda: sign * self._learned_average()),
            "backward_transfer": _metric(self._backward_transfer),
            "forgetting": _metric(self._forgetting),
            "forward_transfer": _metric(self._forward_transfer),
            "lost_gain_fraction": _metric(self._mean_lost_gain),
        }
        if self.reference:
            metrics["reference_drift"] = _metric(self._reference_drift)
        if not self.is_of_one_model:
            none = Metric(None, "each domain was learned by a model of its own")
            metrics = dict.fromkeys(metrics, none) | {"learned_average": metrics["learned_average"]}
        if joint is None:
            return metrics
        return {**metrics, "intransigence": _metric(lambda: self._learned_average() - sign * _mean(list(joint)))}

    def lost_gain_fractions(self) -> dict[str, Metric]:
        """Return, for each domain, the part of what was learned on it that is lost at the end."""
        return {
            domain: _metric(partial(self._lost_gain_fraction, column)) for column, domain in enumerate(self.domains)
        }

    def _loss(self, row: int, column: int) -> float:
        value = self.values[row][column]
        if value is None:
            reason = self.reasons.get((row, column))
            raise _UndefinedError(_not_measured(row) if reason is None else f"{self.domains[column]}: {reason}")
        return self.measure.sign * value

    def _own_rows(self) -> dict[int, int]:
        """Return the row after which each domain was first learned, by column."""
        if self.num_tasks == 1 and len(self.domains) != 1:
            domains = f"{self.num_tasks} task over {len(self.domains)} domains"
            raise _UndefinedError(f"{domains}: no domain belongs to a task of its own")
        rows = {column: self.own_row(column) for column in range(len(self.domains))}
        return {column: row for column, row in rows.items() if row is not None}

    def _earlier(self) -> dict[int, int]:
        """Return the same of the domains learned before the last task."""
        earlier = {column: row for column, row in self._own_rows().items() if row < self.num_tasks}
        if not earlier:
            raise _UndefinedError("one task only: there is no earlier or later one")
        return earlier

    def _final_average(self) -> float:
        return self.measure.sign * _mean([self._loss(self.num_tasks, column) for column in range(len(self.domains))])

    def _average_incremental(self) -> float:
        own = self._own_rows()
        rows = range(1, self.num_tasks + 1)
        return _mean([_mean([self._loss(row, column) for column in own if own[column] <= row]) for row in rows])

    def _learned_average(self) -> float:
        return _mean([self._loss(row, column) for column, row in self._own_rows().items()])

    def _backward_transfer(self) -> float:
        earlier = self._earlier()
        return _mean([self._loss(row, column) - self._loss(self.num_tasks, column) for column, row in earlier.items()])

    def _forgetting(self) -> float:
        last = self.num_tasks
        return _mean(
            [
                self._loss(last, column) - min(self._loss(row, column) for row in range(own, last))
                for column, own in self._earlier().items()
            ]
        )

    def _forward_transfer(self) -> float:
        later = {column: row for column, row in self._own_rows().items() if row > 1}
        if not later:
            raise _UndefinedError("one task only: there is no earlier or later one")
        return _mean([self._loss(0, column) - self._loss(row - 1, column) for column, row in later.items()])

    def _mean_lost_gain(self) -> float:
        return _mean([self._lost_gain_fraction(column) for column in self._earlier()])

    def _lost_gain_fraction(self, column: int) -> float:
        own = self._own_rows().get(column)
        if own is None:
            raise _UndefinedError(f"no task learns {self.domains[column]}")
        first = next((row for row in range(own) if self.values[row][column] is not None), 0)
        before, learned, final = (self._loss(row, column) for row in (first, own, self.num_tasks))
        gain, smallest = before - learned, self.measure.smallest_gain
        if gain < smallest:
            unit = self.measure.title
            raise _UndefinedError(f"learning {self.domains[column]} gained {gain:.4f} {unit}, less than {smallest}")
        return (final - learned) / gain

    def _reference_drift(self) -> float:
        after_tasks = [[value for value in rows[1:] if value is not None] for rows in self.reference.values()]
        if any(len(rows) < self.num_tasks for rows in after_tasks):
            raise _UndefinedError("the reference text is not measured after every task yet")
        losses = [[self.measure.sign * value for value in rows] for rows in after_tasks]
        return _mean([rows[-1] - min(rows) for rows in losses])

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


def gap_closed(naive: float, method: float, joint: float, measure: Measure = BITS_PER_BYTE) -> Metric:
    """Return how much of the way from naive to joint training a method goes, by final average: 0 naive, 1 joint."""
    gap = measure.sign * (naive - joint)
    if gap < measure.smallest_gain:
        words = f"joint training is {gap:.4f} {measure.title} better than naive: there is no gap to close"
        return Metric(None, words)
    return Metric((naive - method) / (naive - joint))


def _metric(formula: Callable[[], float]) -> Metric:
    try:
        return Metric(formula())
    except _UndefinedError as undefined:
        return Metric(None, str(undefined))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _not_measured(row: int) -> str:
    return f"row {row} (after {row} tasks) is not measured yet"
