"""`mambrane evaluate RUN`: how well a trained model predicts held-out text, domain by domain."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from mambrane.app.info import print_learned
from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.run.config import Weights
from mambrane.run.run import Run


def evaluate(run: Path, *, data: tuple[str, ...], weights: Weights, device: str) -> int:
    """Print the measure of every domain and its details, then what the run measured while it learned."""
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    measured = opened.evaluate(data)
    table = Table(box=box.SIMPLE)
    details = list(next(iter(measured.values())).details)
    for heading in ("domain", opened.measure.unit, *(name.replace("_", " ") for name in details)):
        table.add_column(heading, justify="left" if heading == "domain" else "right")
    for name, each in measured.items():
        numbers = (f"{each.details[detail]:,.6g}" for detail in details)
        table.add_row(name, f"{each.value:.3f}", *numbers)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{run} after {opened.step:,} steps, {opened.saved.weights}", soft_wrap=True)
    console.print(table)
    print_learned(opened, console)
    return 0
