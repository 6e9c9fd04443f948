"""A small study, and its runs as they would lie on the disk, without training any."""

import json
from collections.abc import Sequence
from pathlib import Path

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.events import EventLog
from mambrane.measure.metrics import HeldoutLoss
from mambrane.settings.config import to_dict
from mambrane.studies.study import Cell, Study

ARMS = {"naive": {}, "replay": {"use-replay": True}, "joint": {"continual-learning": False}}
SETTINGS = {"preset": "tiny", "num-tasks": 2, "use-replay": False, "use-meta-plasticity": False, "use-stdp": False}


def small_study(**changes) -> Study:
    """Return a study of three arms and three seeds."""
    values = {"name": "small", "baseline": "naive", "arms": ARMS, "seeds": 3, "settings": SETTINGS}
    return Study(**{**values, **changes})


def write_run(cell: Cell, rows: list[list[float]], reference: Sequence[float] = ()) -> None:
    """Put a finished run with this matrix, in bits per byte, where the cell has its folder.

    `reference` has the measure on a text outside the tasks, by row.
    """
    cell.folder.mkdir(parents=True)
    (cell.folder / "config.json").write_text(json.dumps(to_dict(cell.config)))
    matrix = ForgettingMatrix(["a", "b"], len(rows) - 1)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            matrix.record(row, column, HeldoutLoss(value * 0.6931471805599453, 1, 1))
    for row, value in enumerate(reference):
        matrix.record_reference(row, "outside", HeldoutLoss(value * 0.6931471805599453, 1, 1))
    matrix.save(cell.folder / "matrix.json")
    log = EventLog(cell.folder / "events.jsonl")
    log.emit("run_started")
    log.emit("run_finished")
    log.close()


def write_all_runs(study: Study, folder: Path) -> list[Cell]:
    """Put every run there; final averages are 4, 3 and 2 of naive, replay and joint, a tenth more for each seed."""
    cells = study.cells(folder)
    for cell in cells:
        extra = 0.1 * cell.seed
        if cell.arm == "joint":
            write_run(cell, [[8.0, 8.0], [2.0 + extra, 2.0 + extra]])
        else:
            lost = {"naive": 4.0, "replay": 2.0 + 0.02 * cell.seed}[cell.arm]
            write_run(cell, [[8.0, 8.0], [2.0 + extra, 8.0], [2.0 + extra + lost, 2.0 + extra]])
    return cells
