"""`mambrane evaluate RUN`: how well a trained model predicts held-out text, domain by domain."""

from pathlib import Path

from rich import box
from rich.table import Table

from mambrane.app.info import print_learned
from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.measure.metrics import HeldoutLoss
from mambrane.run.run import Run
from mambrane.settings.config import Weights
from mambrane.tasks import task_kind
from mambrane.watch.plain_console import plain_console


def evaluate(run: Path, *, data: tuple[str, ...], weights: Weights, device: str) -> int:
    """Print the measure of every domain and its details, then what the run measured while it learned."""
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    losses = opened.evaluate(data)
    title = f"{run} after {opened.step:,} steps, {opened.saved.weights}"
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    measure = task_kind(opened.config.run.task).measure
    details = list(dict.fromkeys(name for loss in losses.values() for name in loss.details))
    for heading in ("domain", measure.unit, *details, "held-out bytes"):
        table.add_column(heading, justify="left" if heading == "domain" else "right")
    for name, loss in losses.items():
        shown = [f"{loss.details[detail]:.2f}" for detail in details]
        table.add_row(
            name, f"{loss.value:.3f}", *shown, f"{loss.num_bytes:,}" if isinstance(loss, HeldoutLoss) else "-"
        )
    console = plain_console()
    console.print(table)
    print_learned(opened, console)
    return 0
