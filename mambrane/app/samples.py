"""Printing what a model writes."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from mambrane.report.data import Sample


def print_samples(samples: Sequence[Sample]) -> None:
    """Print each beginning dim and its continuation plain."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        f"\nWhat the model writes ({samples[0].settings}) after the dim words, which it never saw in training:"
    )
    for sample in samples:
        console.print(Text(f"\n{sample.title}", style="bold"))
        console.print(Text.assemble((sample.prompt, "dim"), sample.continuation))
