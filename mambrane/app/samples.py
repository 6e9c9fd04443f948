"""Printing what a model writes."""

import textwrap
from collections.abc import Sequence

from rich.text import Text

from mambrane.core.events import Event
from mambrane.report.data import Sample
from mambrane.watch.formatting import visible
from mambrane.watch.plain_console import plain_console

GIVEN, WRITTEN = "given    | ", "written  | "
"""Left margins, so that a log without colours shows too where the model begins."""
NARROWEST = 20
"""Columns of text beside the margin, however few a terminal says that it has: some say 0."""


class SampleListener:
    """Keeps the texts that a run says its model has written."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def __call__(self, event: Event) -> None:
        """Keep what a "sample" event holds."""
        if event["event"] == "sample":
            fields = (event[name] for name in ("prompt", "continuation", "settings", "domain"))
            self.samples.append(Sample(*fields))


def print_samples(samples: Sequence[Sample]) -> None:
    """Print each beginning and its continuation, each with its own margin, control characters made visible."""
    if not samples:
        return
    console = plain_console()
    console.print(
        f"\nWhat the model writes ({samples[0].settings}). The given beginnings were never trained on.", soft_wrap=True
    )
    for sample in samples:
        console.print(Text(f"\n{visible(sample.title)}", style="bold"))
        for margin, text, style in ((GIVEN, sample.prompt, "dim"), (WRITTEN, sample.continuation, "")):
            for line in sample_lines(text, max(console.width - len(margin), NARROWEST)):
                console.print(Text.assemble((margin, "dim"), (line, style)), soft_wrap=True)


def sample_lines(text: str, width: int) -> list[str]:
    """Return text in lines of at most that width, words kept whole where they fit; nothing but spaces gets lost."""
    lines = []
    for line in visible(text, keep="\n").rstrip("\n").split("\n"):
        lines += textwrap.wrap(line, width, drop_whitespace=False, break_on_hyphens=False) or [""]
    return [line.rstrip() for line in lines]
