"""The metrics of a forgetting matrix as formulas over its losses; matrix.py says what each means."""

Cells = list[list[float]]
"""Losses by row (tasks learned) and column (domain), all of them measured."""


def average_incremental(L: Cells) -> float:
    """Return the mean over rows of the mean over the domains learned so far."""
    return mean([mean(L[i][:i]) for i in range(1, len(L))])


def learned_average(L: Cells) -> float:
    """Return the mean loss of each domain right after its own task."""
    return mean([L[j + 1][j] for j in range(len(L) - 1)])


def backward_transfer(L: Cells) -> float:
    """Return how much domains gained since their own task, on average."""
    return mean([L[j + 1][j] - L[-1][j] for j in range(len(L) - 2)])


def forgetting(L: Cells) -> float:
    """Return how much domains lost since they were best, on average."""
    return mean([L[-1][j] - min(L[row][j] for row in range(j + 1, len(L) - 1)) for j in range(len(L) - 2)])


def forward_transfer(L: Cells) -> float:
    """Return how much domains gained before their own task, on average."""
    return mean([L[0][j] - L[j][j] for j in range(1, len(L) - 1)])


def mean(values: list[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)
