"""What a forgetting matrix says in one number each: averages, transfer, forgetting.

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
model of tasks 1..j for each j).
A metric is undefined where a cell that it needs is empty, and asks for no others.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from mambrane.continual.measure import BITS_PER_BYTE, Measure

Table = list[list[float | None]]
"""Values by row (tasks learned) and column (domain); some may not be measured."""
Columns = tuple[int, ...]
"""Domains by their place in the matrix."""


class Metric(NamedTuple):
    """A number, or None with the reason why there is none."""

    value: float | None
    reason: str | None = None


class UndefinedError(Exception):
    """A metric asks for what is not there; the message says what."""


class ForgettingMetrics:
    """What is said of a table of cells; `ForgettingMatrix` fills it."""

    domains: tuple[str, ...]
    task_columns: tuple[Columns, ...]
    """The domains that each task learns."""
    measure: Measure
    values: Table
    """By row and column, in the unit of the measure."""
    reasons: dict[tuple[int, int], str]
    """Why a cell stays empty, by row and column."""
    reference: dict[str, list[float | None]]
    """The measure on each text outside the tasks, by row."""
    is_of_one_model: bool
    """Whether all rows measure one model; False where each task was learned by a model of its own."""

    @property
    def num_tasks(self) -> int:
        """Tasks, learned and planned."""
        return len(self.task_columns)

    def own_row(self, column: int) -> int | None:
        """Return the row after which a domain was first learned; None if no task learns it."""
        rows = (task + 1 for task, columns in enumerate(self.task_columns) if column in columns)
        return next(rows, None)

    def loss(self, row: int, column: int) -> float:
        """Return a cell as a loss: lower is better. Raises UndefinedError where it is empty."""
        value = self.values[row][column]
        if value is None:
            not_yet = f"row {row} (after {row} tasks) is not measured yet"
            reason = self.reasons.get((row, column))
            raise UndefinedError(not_yet if reason is None else f"{self.domains[column]}: {reason}")
        return self.measure.sign * value

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
        return {**metrics, "intransigence": _metric(lambda: self._learned_average() - sign * mean(list(joint)))}

    def lost_gain_fractions(self) -> dict[str, Metric]:
        """Return, for each domain, the part of what was learned on it that is lost at the end."""
        return {
            domain: _metric(partial(self._lost_gain_fraction, column)) for column, domain in enumerate(self.domains)
        }

    def _own_rows(self) -> dict[int, int]:
        """Return the row after which each domain was first learned, by column."""
        if self.num_tasks == 1 and len(self.domains) != 1:
            domains = f"{self.num_tasks} task over {len(self.domains)} domains"
            raise UndefinedError(f"{domains}: no domain belongs to a task of its own")
        rows = {column: self.own_row(column) for column in range(len(self.domains))}
        return {column: row for column, row in rows.items() if row is not None}

    def _earlier(self) -> dict[int, int]:
        """Return the same of the domains learned before the last task."""
        earlier = {column: row for column, row in self._own_rows().items() if row < self.num_tasks}
        if not earlier:
            raise UndefinedError("one task only: there is no earlier or later one")
        return earlier

    def _final_average(self) -> float:
        return self.measure.sign * mean([self.loss(self.num_tasks, column) for column in range(len(self.domains))])

    def _average_incremental(self) -> float:
        own = self._own_rows()
        rows = range(1, self.num_tasks + 1)
        return mean([mean([self.loss(row, column) for column in own if own[column] <= row]) for row in rows])

    def _learned_average(self) -> float:
        return mean([self.loss(row, column) for column, row in self._own_rows().items()])

    def _backward_transfer(self) -> float:
        earlier = self._earlier()
        return mean([self.loss(row, column) - self.loss(self.num_tasks, column) for column, row in earlier.items()])

    def _forgetting(self) -> float:
        last = self.num_tasks
        return mean(
            [
                self.loss(last, column) - min(self.loss(row, column) for row in range(own, last))
                for column, own in self._earlier().items()
            ]
        )

    def _forward_transfer(self) -> float:
        later = {column: row for column, row in self._own_rows().items() if row > 1}
        if not later:
            raise UndefinedError("one task only: there is no earlier or later one")
        return mean([self.loss(0, column) - self.loss(row - 1, column) for column, row in later.items()])

    def _mean_lost_gain(self) -> float:
        return mean([self._lost_gain_fraction(column) for column in self._earlier()])

    def _lost_gain_fraction(self, column: int) -> float:
        own = self._own_rows().get(column)
        if own is None:
            raise UndefinedError(f"no task learns {self.domains[column]}")
        first = next((row for row in range(own) if self.values[row][column] is not None), 0)
        before, learned, final = (self.loss(row, column) for row in (first, own, self.num_tasks))
        gain, smallest = before - learned, self.measure.smallest_gain
        if gain < smallest:
            unit = self.measure.title
            raise UndefinedError(f"learning {self.domains[column]} gained {gain:.4f} {unit}, less than {smallest}")
        return (final - learned) / gain

    def _reference_drift(self) -> float:
        after_tasks = [[value for value in rows[1:] if value is not None] for rows in self.reference.values()]
        if any(len(rows) < self.num_tasks for rows in after_tasks):
            raise UndefinedError("the reference text is not measured after every task yet")
        losses = [[self.measure.sign * value for value in rows] for rows in after_tasks]
        return mean([rows[-1] - min(rows) for rows in losses])


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
    except UndefinedError as undefined:
        return Metric(None, str(undefined))


def mean(values: list[float]) -> float:
    """Return the average."""
    return sum(values) / len(values)
