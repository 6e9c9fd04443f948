"""`mambrane evaluate RUN`: how well a trained model predicts held-out text, domain by domain."""

from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.data.domains import load_domains
from mambrane.measure.metrics import heldout_loss
from mambrane.run.config import Weights
from mambrane.run.folders import cache_folder
from mambrane.run.saved import open_run, own_domains


def evaluate(run: Path, *, data: tuple[str, ...], weights: Weights, device: str) -> int:
    """Print bits per byte and perplexity of every domain."""
    torch_device = resolve_device(device)
    saved = open_run(run, weights=weights, device=torch_device, events=announced_events())
    config = saved.config.data
    if data:
        other = replace(config, data=data)
        _, domains = load_domains(other, cache_folder(), saved.events, tokenizer=saved.tokenizer)
    else:
        domains = own_domains(saved)
    title = f"{run} after {saved.step:,} windows, {saved.weights}"
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    for heading in ("domain", "bits/byte", "perplexity of a token", "held-out bytes"):
        table.add_column(heading, justify="left" if heading == "domain" else "right")
    for domain in domains:
        loss = heldout_loss(
            saved.model,
            domain.heldout,
            sequence_length=config.sequence_length,
            batch_size=config.batch_size,
            device=torch_device,
        )
        table.add_row(domain.name, f"{loss.bits_per_byte:.3f}", f"{loss.perplexity:.2f}", f"{loss.num_bytes:,}")
    Console().print(table)
    return 0
