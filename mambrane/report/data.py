"""What a report is made from: what the run left on disk, and what its caller adds from the model."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.task_file import read_tasks
from mambrane.core.errors import UserError
from mambrane.core.events import read_events
from mambrane.data.domain_records import read_domain_records
from mambrane.measure.energy import EnergyEstimate
from mambrane.measure.probe import Probe
from mambrane.plasticity.windows import Window
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
    truth: str = ""
    """How the text itself goes on, if it is known."""


class Importance(NamedTuple):
    """How much the tasks so far lean on each layer."""

    title: str
    by_layer: dict[str, float]
    caption: str


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
    time_constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of the membranes of each population, in ticks."""
    ticks_per_token: int = 1
    window: Window | None = None
    """Of the STDP rule, if one is at work."""
    importance: Importance | None = None
    bounds: Mapping[str, ForgettingMatrix] = field(default_factory=dict)
    """Of a run of a study, those of naive and joint training of the same seed and order, as far as they are there."""


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
        bounds=read_bounds(folder),
    )


def read_bounds(folder: Path) -> dict[str, ForgettingMatrix]:
    """Return the matrices of naive and joint training beside a run of a study; of any other run none.

    A study keeps its runs as runs/ARM/seed-0-order-0. Naive is the arm of that name, joint the one whose runs learn all
    domains at once.
    """
    arms = folder.resolve().parent.parent
    if arms.name != "runs" or not re.fullmatch(r"seed--?\d+-order-\d+", folder.resolve().name):
        return {}
    bounds: dict[str, ForgettingMatrix] = {}
    for arm in sorted(arms.iterdir()):
        other = RunFolder(arm / folder.resolve().name)
        try:
            is_joint = other.read_config().get("continual", {}).get("curriculum") == "joint"
            if is_joint or arm.name == "naive":
                bounds["joint" if is_joint else "naive"] = load_matrix(other.matrix_file)
        except UserError:
            # Not run yet, or damaged: its own report says so.
            continue
    return bounds
