"""`mambrane report RUN`: one self-contained HTML page about a run."""

from pathlib import Path

from mambrane.app.notices import announced_events
from mambrane.run.run import Run


def report(run: Path, output: Path | None) -> int:
    """Write the page and say where it is."""
    print(Run.open(run, events=announced_events()).report(output))  # noqa: T201 -- the answer of the program
    return 0
