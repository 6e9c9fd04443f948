"""A study from its file to its table: say how long it takes, run what is not finished, write what came of it."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mambrane.core.errors import TAKEN_BACK_EXIT_CODE, UserError
from mambrane.core.events import Event, EventLog
from mambrane.engine.signals import StopRequest
from mambrane.storage.atomic_files import atomic_write_text, make_folder
from mambrane.storage.run_folder import RunFolder
from mambrane.studies import pages
from mambrane.studies.files import find_study
from mambrane.studies.pictures import write_pictures
from mambrane.studies.results import StudyTable, finished_matrix, read_table
from mambrane.studies.schedule import Ended, run_cells
from mambrane.studies.study import Cell, Study
from mambrane.studies.threads import keep_threads, num_cores, threads_of_runs
from mambrane.studies.timing import expected_seconds

PICTURES_FOLDER = "pictures"


class StudyOutcome(NamedTuple):
    """What a study has come to."""

    folder: Path
    table: StudyTable
    failures: tuple[Ended, ...]
    """Runs that ended with an error; the same call tries them again."""
    signal_number: int | None = None
    """The signal that asked to stop, if one did; the same call goes on."""

    @property
    def is_finished(self) -> bool:
        """Whether every run has its result."""
        return all(run.is_finished for run in self.table.runs)


class StudyPlan(NamedTuple):
    """What a study would do."""

    folder: Path
    cells: tuple[Cell, ...]
    to_do: tuple[Cell, ...]
    """The runs that are not finished."""
    jobs: int
    """Runs side by side."""
    threads: int
    """Of each run."""
    seconds: float
    """About how long it takes."""


def study(
    study: Study | Path | str,
    *,
    output_dir: Path | str = "",
    jobs: int = 0,
    listeners: Sequence[Callable[[Event], None]] = (),
) -> StudyOutcome:
    """Run a study, or go on with it, and return its table; finished runs are never repeated.

    Nothing is printed. Stopped or killed at any moment, the same call goes on. In its folder it leaves the runs,
    table.md, .csv, .tex and .json and runs.csv, written anew whenever a run has ended, and at the end pictures.

    Args:
        study: a study, the path of its file, or the name of a ready one.
        output_dir: its folder; left out: studies/NAME.
        jobs: runs side by side; 0: as many as there are cores.
        listeners: called with each event: study_started (which says the expected time), cell_started, cell_finished,
            cell_failed, study_finished.

    Raises:
        UserError: the study, or what stands in its folder, does not fit.

    Example:
        >>> outcome = study("methods", output_dir="studies/methods")  # doctest: +SKIP
        >>> outcome.table.arms[0].estimates["final_average"]  # doctest: +SKIP
    """
    asked = study if isinstance(study, Study) else find_study(study)
    folder = Path(output_dir or f"studies/{asked.name}")
    _refuse_run(folder)
    with RunFolder(folder).lock(), closing(EventLog(folder / "events.jsonl")) as events:
        events.listeners += listeners
        plan = plan_study(asked, folder, jobs=jobs, events=events)
        keep_threads(folder, plan.threads)
        with StopRequest(events) as stop:
            failures = _run(asked, plan, events, lambda: stop.requested)
        table = read_table(asked, plan.cells, threads=plan.threads)
        write_tables(table, folder)
        make_folder(folder / PICTURES_FOLDER)
        write_pictures(table, folder / PICTURES_FOLDER)
        events.emit("study_finished", finished=sum(run.is_finished for run in table.runs), cells=len(table.runs))
    return StudyOutcome(folder, table, tuple(failures), stop.signal_number)


def plan_study(study: Study, folder: Path, *, jobs: int = 0, events: EventLog | None = None) -> StudyPlan:
    """Return what is left to do and about how long it takes; emits study_started.

    Raises:
        UserError: the study, or what stands in its folder, does not fit.
    """
    events = events or EventLog()
    if not 0 <= jobs <= 4096:
        raise UserError(f"--jobs {jobs}", wanted="a whole number, 0 for as many as cores", way_out="--jobs 0")
    _refuse_run(folder)
    cells = study.cells(folder)
    to_do = [cell for cell in cells if finished_matrix(cell) is None]
    for sentence in study.warnings():
        events.emit("warning", message=sentence)
    threads = threads_of_runs(folder, jobs=jobs, num_cells=len(cells), events=events)
    jobs = min(jobs or max(1, num_cores() // threads), max(1, len(to_do)))
    seconds = expected_seconds(to_do, jobs=jobs, threads=threads, events=events) if to_do else 0.0
    num_cells, num_to_do = len(cells), len(to_do)
    events.emit(
        "study_started", name=study.name, cells=num_cells, to_do=num_to_do, jobs=jobs, threads=threads, seconds=seconds
    )
    return StudyPlan(folder, tuple(cells), tuple(to_do), jobs, threads, seconds)


def _refuse_run(folder: Path) -> None:
    """Refuse the folder of a training run, whose event log a study would go on writing."""
    run = RunFolder(folder)
    if run.config_file.exists() or any(run.checkpoints_folder.glob("step-*")):
        raise UserError(
            f"{folder} is the folder of a training run",
            wanted="a folder of its own for the study",
            way_out="another --output-dir, or none for studies/NAME",
        )


def _run(study: Study, plan: StudyPlan, events: EventLog, should_stop: Callable[[], bool]) -> list[Ended]:
    """Run what is left; a table is written whenever one has ended, so that a killed study leaves one too.

    Pictures, which take longer, are drawn at the end only.
    """
    failures = []
    num_left = len(plan.to_do)
    known_seconds: dict[Path, float | None] = {}

    def started(cell: Cell) -> None:
        events.emit("cell_started", cell=cell.title, folder=str(cell.folder))

    ended_runs = run_cells(plan.to_do, jobs=plan.jobs, threads=plan.threads, should_stop=should_stop, started=started)
    for ended in ended_runs:
        num_left -= 1
        # Behind the last run comes the table of the whole study.
        if num_left:
            table = read_table(study, plan.cells, threads=plan.threads, known_seconds=known_seconds)
            write_tables(table, plan.folder)
        if has_result(ended):
            events.emit("cell_finished", cell=ended.cell.title, left=num_left, of=len(plan.cells))
        elif not should_stop():
            failures.append(ended)
            events.emit("cell_failed", cell=ended.cell.title, exit_code=ended.exit_code, message=ended.message)
    return failures


def has_result(ended: Ended) -> bool:
    """Return whether a run went to its end; one whose task was taken back did, and its matrix says what came of it.

    Raises:
        UserError: as `finished_matrix`.
    """
    return ended.exit_code in (0, TAKEN_BACK_EXIT_CODE) and finished_matrix(ended.cell) is not None


def write_tables(table: StudyTable, folder: Path) -> None:
    """Write the table in every form."""
    texts = {
        "table.md": pages.markdown(table, folder),
        "table.csv": pages.arms_csv(table),
        "runs.csv": pages.runs_csv(table, folder),
        "table.tex": pages.latex(table, folder),
        "table.json": pages.as_json(table, folder),
    }
    for name, text in texts.items():
        atomic_write_text(folder / name, text)
