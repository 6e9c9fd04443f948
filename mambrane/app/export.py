"""`mambrane export RUN`: the model, written so that it can leave."""

import sys
from pathlib import Path

from mambrane.app.notices import announced_events
from mambrane.run.run import Run
from mambrane.settings.config import ExportKind, Weights


def export(
    run: Path, *, to: ExportKind, output_dir: Path | None, hub_name: str, private: bool, weights: Weights
) -> int:
    """Write or publish the model and print where it is; what the format cannot say goes to standard error."""
    events = announced_events()
    exported = Run.open(run, weights=weights, events=events).export(to, output_dir, hub_name=hub_name, private=private)
    for sentence in exported.left_out:
        events.emit("warning", message=sentence)
    sys.stdout.write(f"{exported.place}\n")
    return 0
