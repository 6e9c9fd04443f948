"""Matrices filled by hand."""

from mambrane.continual.matrix import ForgettingMatrix
from tests.measured import Loss

FORGETS = [[8.0, 8.0, 8.0], [2.0, 7.0, 9.0], [3.0, 1.0, 6.0], [4.0, 3.0, 2.0]]
IMPROVES = [[8.0, 8.0, 8.0], [4.0, 8.0, 8.0], [3.0, 4.0, 8.0], [2.0, 3.0, 4.0]]


def filled(rows: list[list[float]], domains: tuple[str, ...] = ("prose", "code", "tables")) -> ForgettingMatrix:
    matrix = ForgettingMatrix(domains, len(rows) - 1)
    for i, row in enumerate(rows):
        for j, loss in enumerate(row):
            matrix.record(i, j, Loss(loss, 2**loss))
    return matrix


def values(matrix: ForgettingMatrix, joint: list[float] | None = None) -> dict[str, float | None]:
    return {name: metric.value for name, metric in matrix.metrics(joint).items()}
