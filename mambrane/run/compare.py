"""Runs side by side: settings that differ, metrics, and the cells of their forgetting matrices."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.errors import UserError
from mambrane.core.text_tables import csv_text, latex_row, latex_text, markdown_rows
from mambrane.run.run import Run
from mambrane.settings.config import RunConfig, flat
from mambrane.settings.saved_config import read_configuration
from mambrane.storage.run_folder import RunFolder
from mambrane.watch.table import metric_title

Kind = Literal["setting", "metric", "matrix"]
TITLES: dict[Kind, str] = {
    "setting": "Settings that differ",
    "metric": "Metrics",
    "matrix": "Forgetting matrix, held-out text by tasks learned",
}
NOT_COMPARED = ("run.output_dir", "run.dry_run")


class Row(NamedTuple):
    """One thing of every run."""

    kind: Kind
    name: str
    values: tuple[Any, ...]
    """In the order of the runs; None where a run has no such thing, or it is undefined."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The values as text."""
        return tuple(_text(value) for value in self.values)


class Comparison(NamedTuple):
    """Runs side by side, as rows of one table."""

    runs: tuple[str, ...]
    """Name of each run."""
    rows: tuple[Row, ...]

    def of_kind(self, kind: Kind) -> list[Row]:
        """Return the rows of a kind."""
        return [row for row in self.rows if row.kind == kind]

    def json(self) -> str:
        """Return it as one JSON object: {"runs": [...], "settings": {name: [...]}, "metrics": ..., "matrix": ...}."""
        parts = {f"{kind}s" if kind != "matrix" else kind: self.of_kind(kind) for kind in TITLES}
        content = {name: {row.name: list(row.values) for row in rows} for name, rows in parts.items()}
        return json.dumps({"runs": list(self.runs), **content}, indent=2) + "\n"

    def csv(self) -> str:
        """Return it as comma-separated values, a column a run; what there is none of is empty."""
        return csv_text(["kind", "name", *self.runs], [[row.kind, row.name, *row.values] for row in self.rows])

    def markdown(self) -> str:
        """Return it as a Markdown table for each kind."""
        parts = []
        for kind, title in TITLES.items():
            rows = [[row.name, *row.cells] for row in self.of_kind(kind)]
            lines = markdown_rows(["", *self.runs], rows, rule="---:")
            parts.append("\n".join([f"## {title}", "", *lines]) + "\n")
        return "\n".join(parts)

    def latex(self) -> str:
        """Return it as one LaTeX table for the package booktabs."""
        lines = [r"\begin{tabular}{l" + "r" * len(self.runs) + "}", r"\toprule", latex_row(["", *self.runs])]
        for kind, title in TITLES.items():
            lines += [r"\midrule", rf"\multicolumn{{{len(self.runs) + 1}}}{{l}}{{\emph{{{latex_text(title)}}}}} \\"]
            lines += [latex_row([row.name, *row.cells]) for row in self.of_kind(kind)]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def compare(runs: Sequence[Path | str]) -> Comparison:
    """Return what differs between runs, and what each has learned.

    Raises:
        UserError: there are fewer, or one is not the folder of a run.
    """
    if len(runs) < 2:
        raise UserError(f"{len(runs)} run to compare", wanted="two or more", way_out="mambrane compare RUN RUN ...")
    opened = [Run.open(run) for run in runs]
    matrices = [run.matrix for run in opened]
    rows = [
        # Read without a checkpoint: a run that has just begun has settings too.
        *_setting_rows([read_configuration(RunFolder(run.folder)) for run in opened]),
        *_metric_rows(matrices),
        *_matrix_rows(matrices),
    ]
    return Comparison(tuple(_names([Path(run) for run in runs])), tuple(rows))


def _setting_rows(configs: Sequence[RunConfig]) -> list[Row]:
    found = [flat(config) for config in configs]
    rows = [Row("setting", name, tuple(settings[name] for settings in found)) for name in found[0]]
    return [row for row in rows if len(set(map(str, row.values))) > 1 and row.name not in NOT_COMPARED]


def _metric_rows(matrices: Sequence[ForgettingMatrix | None]) -> list[Row]:
    found = [{} if matrix is None else matrix.metrics() for matrix in matrices]
    titles = {
        name: metric_title(name, matrix.measure)
        for matrix, metrics in zip(matrices, found, strict=True)
        if matrix is not None
        for name in metrics
    }
    return [
        Row("metric", title, tuple(metrics[name].value if name in metrics else None for metrics in found))
        for name, title in titles.items()
    ]


def _matrix_rows(matrices: Sequence[ForgettingMatrix | None]) -> list[Row]:
    cells = [{} if matrix is None else _cells(matrix) for matrix in matrices]
    names = dict.fromkeys(name for matrix in cells for name in matrix)
    return [Row("matrix", name, tuple(matrix.get(name) for matrix in cells)) for name in names]


def _cells(matrix: ForgettingMatrix) -> dict[str, float | None]:
    return {
        f"{domain} after {row or 'no'} task{'s' * (row != 1)}": matrix.values[row][column]
        for column, domain in enumerate(matrix.domains)
        for row in range(matrix.num_tasks + 1)
    }


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the name of each folder; the whole path where two have one name."""
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]


def _text(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.3f}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
