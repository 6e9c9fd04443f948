"""Reading matrix.json, which `ForgettingMatrix.save` writes: a file of any content gives a matrix or a sentence."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambrane.continual.forgetting_metrics import Columns
from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import BITS_PER_BYTE
from mambrane.core.errors import damaged_file
from mambrane.core.ordinary_files import read_ordinary


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
        names = [str(name) for name in state["domains"]]
        matrix = ForgettingMatrix(names, num_rows - 1, task_columns=_columns_in(state, num_rows - 1, len(names)))
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
        raise damaged_file(
            path,
            error,
            wanted="the forgetting matrix of the run",
            way_out="run the train command again, which writes it anew, or restore the file from a copy",
        ) from error
    return matrix


def num_other_cells(matrix: ForgettingMatrix, state: Mapping[str, Any]) -> int:
    """Return how many cells of a state, as `ForgettingMatrix.state_dict` gave it, the matrix has otherwise.

    What the matrix has beyond the state does not count: it is written before the checkpoint of a boundary.
    """
    saved = state.get(matrix.measure.name, [])
    columns = [
        (column, matrix.domains.index(name)) for column, name in enumerate(state["domains"]) if name in matrix.domains
    ]
    return sum(
        row[column] is not None and row[column] != own_row[own_column]
        for row, own_row in zip(saved, matrix.values, strict=False)
        for column, own_column in columns
    )


def _columns_in(state: dict[str, Any], num_tasks: int, num_domains: int) -> list[Columns] | None:
    """Return the columns of each task, where a saved matrix says them."""
    if "task_columns" not in state:
        return None
    columns = [tuple(of_task) for of_task in state["task_columns"]]
    if len(columns) != num_tasks or any(
        type(column) is not int or not 0 <= column < num_domains for of_task in columns for column in of_task
    ):
        raise ValueError("the columns of the tasks do not fit the table")
    return columns


def _check_cells(table: list[list[Any]], num_rows: int, num_columns: int) -> None:
    if len(table) != num_rows or any(len(row) != num_columns for row in table):
        raise ValueError(f"not {num_rows} rows of {num_columns} numbers")
    for cell in (cell for row in table for cell in row):
        if cell is not None and (type(cell) not in (int, float) or not math.isfinite(cell)):
            raise ValueError(f"{str(cell)[:20]} in place of a number")
