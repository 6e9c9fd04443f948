"""`mambrane info RUN`: what the model is made of and what it costs, part by part."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from mambrane.app.saved_run import open_run
from mambrane.models.accounting import Part, account


def info(run: Path) -> int:
    """Print the parts of a run's model and their cost."""
    saved = open_run(run)
    console = Console()
    console.print(parts_table(account(saved.model), title=f"{run} after {saved.step:,} windows"))
    console.print(FOOTNOTE, style="dim", soft_wrap=True)
    return 0


FOOTNOTE = (
    "FLOPs and multiply-accumulates (MACs) are those of one token's forward pass. Spike MACs are executed as dense "
    "products here; on an event-driven machine they become additions, one for each spike. `mambrane report` counts "
    "them at the firing rates that this run measured."
)


def parts_table(parts: Sequence[Part], title: str) -> Table:
    """Return parameters, floating-point operations and spike-driven products by part, with a total."""
    table = Table(box=box.SIMPLE, title=title, title_justify="left", show_footer=True)
    rows = [(p.parameters, p.flops_per_token, p.dense_macs_per_token, p.spike_macs_per_token) for p in parts]
    totals = [sum(column) for column in zip(*rows, strict=True)]
    table.add_column("part", footer="total", no_wrap=True)
    for heading, total in zip(HEADINGS, totals, strict=True):
        table.add_column(heading, justify="right", footer=f"{total:,.0f}")
    for part, row in zip(parts, rows, strict=True):
        table.add_row(part.name, *(f"{number:,.0f}" for number in row))
    return table


HEADINGS = ("parameters", "FLOPs", "dense MACs", "spike MACs")
