"""The terms on which a task is kept: what it may cost the domains learned before, and what it must gain.

    forgetting = mean over the domains learned before of  L[i, j] - L[i-1, j]          i the row after the task
    gain       = mean over the task's own domains of      L[i-1, j] - L[i, j]

in the unit of the measure, as losses. A task that costs more than `max_forgetting` or gains less than `min_gain` is
taken back as a whole.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.errors import UserError

HELDOUT_IS_GONE = "its held-out text was not kept and is gone"


class Verdict(NamedTuple):
    """What a task cost and gained, and whether it is kept."""

    is_kept: bool
    forgetting: float | None
    """None where no domain was learned before."""
    gain: float | None
    """None where none of its domains is measured."""
    reason: str
    """Why it is kept or taken back, as text."""

    def kept_all_the_same(self) -> "Verdict":
        """Return it for the only task of a run, which would have none without it."""
        return self._replace(is_kept=True, reason=f"{self.reason}; it is kept, as it is the only task of the run")


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Limits; None is no limit."""

    max_forgetting: float | None = None
    min_gain: float | None = None

    @property
    def are_set(self) -> bool:
        """Whether a task may be taken back."""
        return self.max_forgetting is not None or self.min_gain is not None

    def check_before(self, matrix: ForgettingMatrix, task: int, gone: Collection[int]) -> None:
        """Refuse terms that cannot be judged at the end of a task, before anything is learned.

        The matrix is measured up to the task; `gone` are columns whose held-out text is gone.

        Raises:
            UserError: a domain that they need is not measured before the task.
        """
        needed = [] if self.max_forgetting is None else _earlier(matrix, task)
        needed += [] if self.min_gain is None else list(matrix.task_columns[task])
        for column in needed:
            if matrix.values[task][column] is None or column in gone:
                reason = matrix.reasons.get((task, column), HELDOUT_IS_GONE)
                raise UserError(
                    f"--max-forgetting and --min-gain cannot be judged on {matrix.domains[column]}: {reason}",
                    wanted="every domain that they need measured before and after the task",
                    way_out="put the text back where the run found it, or leave the two flags out",
                )

    def verdict(self, matrix: ForgettingMatrix, task: int) -> Verdict:
        """Return whether a task that is learned and measured is kept."""
        forgetting, gain = cost_of_task(matrix, task)
        unit = matrix.measure.unit
        if self.max_forgetting is not None and forgetting is not None and forgetting > self.max_forgetting:
            words = f"it cost the earlier domains {forgetting:.4f} {unit} on average"
            return Verdict(False, forgetting, gain, f"{words}, more than --max-forgetting {self.max_forgetting:g}")
        if self.min_gain is not None and gain is not None and gain < self.min_gain:
            words = f"it gained {gain:.4f} {unit} on its own text"
            return Verdict(False, forgetting, gain, f"{words}, less than --min-gain {self.min_gain:g}")
        return Verdict(True, forgetting, gain, "its terms are met" if self.are_set else "no terms were set")


NO_TERMS = Terms()


def cost_of_task(matrix: ForgettingMatrix, task: int) -> tuple[float | None, float | None]:
    """Return forgetting and gain of a measured task; None for one without a domain that is measured on both sides.

    None for both where tasks have models of their own: rows then compare different models.
    """
    if not matrix.is_of_one_model:
        return None, None
    row = task + 1

    def measured(columns: list[int]) -> list[int]:
        return [
            column for column in columns if None not in (matrix.values[row][column], matrix.values[row - 1][column])
        ]

    earlier, own = measured(_earlier(matrix, task)), measured(list(matrix.task_columns[task]))
    gain = matrix.change(row, own)
    return matrix.change(row, earlier), None if gain is None else -gain


def _earlier(matrix: ForgettingMatrix, task: int) -> list[int]:
    """Return the columns learned before a task that are not its own."""
    before = {column for columns in matrix.task_columns[:task] for column in columns}
    return sorted(before - set(matrix.task_columns[task]))
