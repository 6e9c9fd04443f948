"""The forgetting matrix: every domain measured after every task.

    L[i, j] = the measure (bits per byte, for text) on what is held out of domain j after i tasks;   row 0: untrained

with domains j = 1..T in the order in which they are learned. Lower is better; a measure of which more is better, such
as an accuracy, enters with its sign turned, and averages of it come out with its own. From the matrix:

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
model of tasks 1..j for each j). Details such as perplexities are kept for display and never averaged.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.continual import formulas
from mambrane.continual.measure import BITS_PER_BYTE, Measure, Measurement
from mambrane.core.errors import UserError
from mambrane.core.ordinary_files import read_ordinary
from mambrane.storage.atomic_files import atomic_write_text

Table = list[list[float | None]]
"""The same where some cells may not be measured yet."""


class Metric(NamedTuple):
    """A number, or None with the reason why there is none."""

    value: float | None
    reason: str | None = None


class ForgettingMatrix:
    """`num_tasks + 1` rows of measured values on every domain; cells are None until measured."""

    def __init__(self, domains: Sequence[str], num_tasks: int, measure: Measure = BITS_PER_BYTE) -> None:
        self.domains = tuple(domains)
        self.num_tasks = num_tasks
        self.measure = measure
        self.values: Table = self._empty_table()
        """In the unit of the measure."""
        self.details: dict[str, Table] = {}
        """Numbers shown beside the values, by name: perplexity."""
        self.reference: dict[str, list[float | None]] = {}
        """The measure on each text outside the tasks, by row."""
        self.is_of_one_model = True
        """Whether all rows measure one model; False where each task was learned by a model of its own."""

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

    def missing(self, row: int) -> list[int]:
        """Return the columns of the row that are not measured yet."""
        return [column for column, cell in enumerate(self.values[row]) if cell is None]

    @property
    def has_values(self) -> bool:
        """Whether any cell is measured."""
        return any(cell is not None for row in self.values for cell in row)

    @property
    def why_no_transfer(self) -> str | None:
        """Return why metrics over tasks are undefined here, or None where they are defined."""
        if self.num_tasks != len(self.domains):
            return f"{self.num_tasks} task over {len(self.domains)} domains: no domain belongs to a task of its own"
        for row in range(self.num_tasks + 1):
            if self.missing(row):
                return _not_measured(row)
        return None

    def metrics(self, joint: Sequence[float] | None = None) -> dict[str, Metric]:
        """Return every metric by name.

        Args:
            joint: the measure on each domain of a model that has learned all of them at once, which intransigence
                compares with; without it that metric is left out. They stand in the last row of the matrix of a run
                over the same text without tasks: `load_matrix(path).values[-1]`.
        """
        metrics = {
            "final_average": self._final_average(),
            "average_incremental": self._average_over_tasks(formulas.average_incremental),
            "learned_average": self._average_over_tasks(formulas.learned_average),
            "backward_transfer": self._over_tasks(formulas.backward_transfer, at_least=2),
            "forgetting": self._over_tasks(formulas.forgetting, at_least=2),
            "forward_transfer": self._over_tasks(formulas.forward_transfer, at_least=2),
            "lost_gain_fraction": self._mean_lost_gain(),
        }
        if self.reference:
            metrics["reference_drift"] = self._reference_drift()
        if not self.is_of_one_model:
            none = Metric(None, "each domain was learned by a model of its own")
            metrics = dict.fromkeys(metrics, none) | {"learned_average": metrics["learned_average"]}
        return metrics if joint is None else {**metrics, "intransigence": self._intransigence(joint)}

    def lost_gain_fractions(self) -> dict[str, Metric]:
        """Return, for each domain, the part of what was learned on it that is lost at the end."""
        if self.why_no_transfer:
            return {domain: Metric(None, self.why_no_transfer) for domain in self.domains}
        fractions = {}
        for j, domain in enumerate(self.domains):
            before, learned, final = (self._losses[row][j] for row in (0, j + 1, self.num_tasks))
            gain, smallest = before - learned, self.measure.smallest_gain
            defined = gain >= smallest
            reason = f"learning {domain} gained {gain:.4f} {self.measure.title}, less than {smallest}"
            fractions[domain] = Metric((final - learned) / gain) if defined else Metric(None, reason)
        return fractions

    def _final_average(self) -> Metric:
        if self.missing(self.num_tasks):
            return Metric(None, _not_measured(self.num_tasks))
        return Metric(formulas.mean(self._measured(self.values[self.num_tasks])))

    def _over_tasks(self, formula: Callable[[formulas.Cells], float], at_least: int) -> Metric:
        if self.why_no_transfer:
            return Metric(None, self.why_no_transfer)
        if self.num_tasks < at_least:
            return Metric(None, "one task only: there is no earlier or later one")
        return Metric(formula(self._losses))

    def _average_over_tasks(self, formula: Callable[[formulas.Cells], float]) -> Metric:
        average = self._over_tasks(formula, at_least=1)
        return average if average.value is None else Metric(self.measure.sign * average.value)

    @property
    def _losses(self) -> formulas.Cells:
        """The values as losses, once all are measured."""
        return [[self.measure.sign * cell for cell in self._measured(row)] for row in self.values]

    @staticmethod
    def _measured(row: Sequence[float | None]) -> list[float]:
        return [cell for cell in row if cell is not None]

    def _mean_lost_gain(self) -> Metric:
        if self.why_no_transfer or self.num_tasks < 2:
            return self._over_tasks(formulas.forgetting, at_least=2)
        earlier = list(self.lost_gain_fractions().values())[:-1]
        undefined = [fraction for fraction in earlier if fraction.value is None]
        return (
            undefined[0]
            if undefined
            else Metric(formulas.mean(self._measured([fraction.value for fraction in earlier])))
        )

    def _intransigence(self, joint: Sequence[float]) -> Metric:
        learned = self._over_tasks(formulas.learned_average, at_least=1)
        return (
            learned if learned.value is None else Metric(learned.value - self.measure.sign * formulas.mean(list(joint)))
        )

    def _reference_drift(self) -> Metric:
        after_tasks = [self._measured(rows[1:]) for rows in self.reference.values()]
        if any(len(rows) < self.num_tasks for rows in after_tasks):
            return Metric(None, "the reference text is not measured after every task yet")
        losses = [[self.measure.sign * value for value in rows] for rows in after_tasks]
        return Metric(formulas.mean([rows[-1] - min(rows) for rows in losses]))

    @property
    def _tables(self) -> dict[str, Table]:
        """The values by the name of their measure, and each detail by its own."""
        return {self.measure.name: self.values, **self.details}

    def state_dict(self) -> dict[str, Any]:
        """Return the whole matrix as JSON values, each table by its name: bits_per_byte, perplexity."""
        return {
            "domains": list(self.domains),
            "num_tasks": self.num_tasks,
            "measure": dataclasses.asdict(self.measure),
            "details": list(self.details),
            "reference": {name: list(rows) for name, rows in self.reference.items()},
            "is_of_one_model": self.is_of_one_model,
            **{name: [list(row) for row in table] for name, table in self._tables.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the cells back; raises ValueError when they belong to other domains or tasks."""
        # Versions that did not write it measured bits per byte.
        state = {"measure": dataclasses.asdict(BITS_PER_BYTE), "details": ["perplexity"], "reference": {}, **state}
        if tuple(state["domains"]) != self.domains or state["num_tasks"] != self.num_tasks:
            raise ValueError(
                f"saved matrix: {state['num_tasks']} tasks over {state['domains']}; "
                f"this run: {self.num_tasks} tasks over {list(self.domains)}"
            )
        self.measure = Measure(**state["measure"])
        self.values = [list(row) for row in state[self.measure.name]]
        self.details = {name: [list(row) for row in state[name]] for name in state["details"]}
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


def load_matrix(path: Path) -> ForgettingMatrix:
    """Return the matrix that `ForgettingMatrix.save` wrote.

    Raises:
        UserError: the file cannot be read, or is not such a matrix.
    """
    try:
        state = json.loads(read_ordinary(path))
        num_rows = len(state[state["measure"]["name"] if "measure" in state else BITS_PER_BYTE.name])
        # Before a table of that size is made: a damaged number may be any.
        if state["num_tasks"] != num_rows - 1:
            raise ValueError(f"{num_rows} rows for {str(state['num_tasks'])[:20]} tasks")
        matrix = ForgettingMatrix([str(name) for name in state["domains"]], num_rows - 1)
        matrix.load_state_dict(state)
        for table in (matrix.values, *matrix.details.values()):
            _check_cells(table, matrix.num_tasks + 1, len(matrix.domains))
        for rows in matrix.reference.values():
            _check_cells([rows], 1, matrix.num_tasks + 1)
        matrix.metrics()
    # A file of any content: every wrong type or shape shows as one of these.
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {str(error)[:100]})",
            wanted="the forgetting matrix of the run",
            way_out="run the train command again, which writes it anew, or restore the file from a copy",
        ) from error
    return matrix


def _check_cells(table: Table, num_rows: int, num_columns: int) -> None:
    if len(table) != num_rows or any(len(row) != num_columns for row in table):
        raise ValueError(f"not {num_rows} rows of {num_columns} numbers")
    for cell in (cell for row in table for cell in row):
        if cell is not None and (type(cell) not in (int, float) or not math.isfinite(cell)):
            raise ValueError(f"{str(cell)[:20]} in place of a number")


def gap_closed(naive: float, method: float, joint: float, measure: Measure = BITS_PER_BYTE) -> Metric:
    """Return how much of the way from naive to joint training a method goes, by final average: 0 naive, 1 joint."""
    gap = measure.sign * (naive - joint)
    if gap < measure.smallest_gain:
        words = f"joint training is {gap:.4f} {measure.title} better than naive: there is no gap to close"
        return Metric(None, words)
    return Metric((naive - method) / (naive - joint))


def _not_measured(row: int) -> str:
    return f"row {row} (after {row} tasks) is not measured yet"
