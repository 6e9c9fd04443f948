"""What a report is made from: what the run left on disk, and what its caller adds from the model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.task_file import read_tasks
from mambrane.core.errors import UserError
from mambrane.core.events import read_events
from mambrane.data.domain_records import read_domain_records
from mambrane.measure.energy import EnergyEstimate
from mambrane.measure.probe import Probe
from mambrane.storage.run_folder import RunFolder
from mambrane.watch.history import RunHistory, read_history


class Sample(NamedTuple):
    """A text that the model went on with."""

    prompt: str
    continuation: str
    settings: str
    """How it was drawn, as text: `temperature 0.8, top-p 0.95, seed 0`."""
    title: str = ""
    """The domain that the beginning was taken from, if any."""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that a report shows; what is None is not there."""

    title: str
    history: RunHistory
    config: dict[str, dict[str, Any]]
    """Settings by section."""
    matrix: ForgettingMatrix | None = None
    attempts: tuple[dict[str, Any], ...] = ()
    """Tasks that were learned and taken back, as tasks.json has them."""
    damages: tuple[str, ...] = ()
    """A sentence for each file of the run of which a part could not be read."""
    probe: Probe | None = None
    energy: EnergyEstimate | None = None
    samples: tuple[Sample, ...] = ()
    weights: str = ""
    """Which weights the model had for probe, energy and samples, as text."""


def read_report_data(folder: Path, *, tell_damage: Callable[[str], None] = lambda sentence: None) -> ReportData:
    """Return what a run left in its folder; the model's own parts are for the caller to add.

    Args:
        folder: the folder of the run.
        tell_damage: called with a sentence for each file of which a part could not be read; the page has it as well.
    """
    run = RunFolder(folder)
    damages: list[str] = []
    history = RunHistory()
    try:
        if run.events_file.exists():
            history = read_history(read_events(run.events_file, tell_damage=damages.append))
        else:
            damages.append(f"{run.events_file} is missing")
    except UserError as error:
        damages.append(error.found)
    if history.num_incomplete:
        damages.append(f"{run.events_file}: {history.num_incomplete:,} events lack a field and are left out")
    matrix = None
    if run.matrix_file.exists():
        try:
            matrix = load_matrix(run.matrix_file)
        except UserError as error:
            damages.append(error.found)
    elif history.steps:
        damages.append(f"{run.matrix_file} is missing")
    attempts: list[dict[str, Any]] = []
    try:
        attempts = read_tasks(run.tasks_file).attempts
    except UserError as error:
        damages.append(error.found)
    if damage := read_domain_records(run.domains_file).damage:
        damages.append(damage)
    for sentence in damages:
        tell_damage(sentence)
    return ReportData(
        title=folder.resolve().name,
        history=history,
        config=run.read_config(),
        matrix=matrix,
        attempts=tuple(attempts),
        damages=tuple(damages),
    )
