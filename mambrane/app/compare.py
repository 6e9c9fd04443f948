"""`mambrane compare RUN RUN ...`: runs side by side."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from mambrane.app.arguments import TableFormat
from mambrane.run.compare import TITLES, Comparison
from mambrane.run.compare import compare as compare_runs
from mambrane.watch.formatting import visible
from mambrane.watch.plain_console import plain_console


def compare(runs: Sequence[Path], *, format: TableFormat) -> int:
    """Print settings that differ, metrics and matrices of the runs."""
    comparison = compare_runs(runs)
    if format == "terminal":
        _print_tables(comparison)
    else:
        writers = {
            "csv": comparison.csv,
            "latex": comparison.latex,
            "json": comparison.json,
            "markdown": comparison.markdown,
        }
        sys.stdout.write(writers[format]())
    return 0


def _print_tables(comparison: Comparison) -> None:
    console = plain_console()
    for kind, title in TITLES.items():
        rows = comparison.of_kind(kind)
        if not rows:
            continue
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        table.add_column("")
        for run in comparison.runs:
            table.add_column(Text(visible(run)), justify="right")
        for row in rows:
            table.add_row(Text(visible(row.name)), *(Text(visible(cell)) for cell in row.cells))
        console.print(table)
