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
    """Print bits per byte and perplexity of every domain, then what the run measured while it learned."""
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    losses = opened.evaluate(data)
    title = f"{run} after {opened.step:,} steps, {opened.saved.weights}"
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    for heading in ("domain", "bits/byte", "perplexity of a token", "held-out bytes"):
        table.add_column(heading, justify="left" if heading == "domain" else "right")
    for name, loss in losses.items():
        table.add_row(name, f"{loss.bits_per_byte:.3f}", f"{loss.perplexity:.2f}", f"{loss.num_bytes:,}")
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    print_learned(opened, console)
    return 0
