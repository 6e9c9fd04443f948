"""`mambrane study`: run a study, or go on with it, and show its table; `--list` shows the ready ones."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mambrane.core.errors import UserError
from mambrane.core.events import Event, EventLog
from mambrane.studies.conduct import plan_study
from mambrane.studies.conduct import study as conduct
from mambrane.studies.files import find_study, ready_studies
from mambrane.studies.pages import arm_row, columns, estimate_text, heading, notes, short_heading
from mambrane.studies.results import StudyTable
from mambrane.watch.event_messages import warning_of
from mambrane.watch.formatting import duration
from mambrane.watch.plain_console import plain_console

FAILED_EXIT_CODE = 1
METRICS_IN_A_TABLE = 3


def study(study: str, *, output_dir: str, jobs: int, dry_run: bool, list: bool) -> int:
    """Run a study, by name or path, or go on with it; or list the ready ones.

    Returns 0 when every run has its result, 1 when some failed, 128 + signal number after a signal.
    """
    if list:
        return list_studies()
    if not study:
        raise UserError("mambrane study without a study", wanted="a file, or a name", way_out="mambrane study --list")
    console = plain_console()
    told = plain_console(stderr=True)
    asked = find_study(study)
    folder = Path(output_dir or f"studies/{asked.name}")
    if dry_run:
        events = EventLog()
        # The plan is what is asked for: it goes to standard output, below, and not there as well.
        events.listeners.append(lambda event: None if event["event"] == "study_started" else _tell(event, told))
        plan = plan_study(asked, folder, jobs=jobs, events=events)
        words = _plan_text(len(plan.cells), len(plan.to_do), plan.jobs, plan.threads, plan.seconds)
        console.print(f"{asked.title or asked.name}: {words}")
        for cell in plan.to_do:
            console.print(f"  {cell.title}: {cell.folder}", soft_wrap=True)
        return 0
    outcome = conduct(asked, output_dir=folder, jobs=jobs, listeners=[lambda event: _tell(event, told)])
    for shown in terminal_tables(outcome.table):
        console.print(shown)
    for sentence in notes(outcome.table):
        console.print(sentence, style="dim")
    console.print(f"{folder}/: table.md .csv .tex .json, runs.csv, pictures/, and each run in runs/", soft_wrap=True)
    if outcome.signal_number is not None:
        return 128 + outcome.signal_number
    return 0 if outcome.is_finished else FAILED_EXIT_CODE


def list_studies() -> int:
    """Print the ready studies: what each asks, its runs, and about how long it takes on two cores."""
    table = Table("study", "what it asks", "runs", "about", box=box.SIMPLE_HEAD)
    for name, asked in ready_studies().items():
        num_runs = len(asked.arms) * len(asked.seed_list) * asked.num_orders
        table.add_row(name, asked.title, str(num_runs), duration(60 * asked.expected_minutes))
    console = plain_console()
    console.print(table)
    console.print("mambrane study NAME --output-dir DIR; the times are those of two cores")
    return 0


def terminal_tables(table: StudyTable) -> list[Table]:
    """Return tables that fit 80 columns: the metric that is tested with its cost, then the others.

    The name of an arm, and each of its numbers, leads to its runs.
    """
    tested = Table(box=box.SIMPLE_HEAD, title=table.study.title or table.study.name, title_justify="left")
    first, *others = table.shown_metrics() or [table.study.metric]
    headings = (short_heading(first), f"to {table.study.baseline}", columns(table)[3], "time", "memory")
    cells = [arm_row(table, arm) for arm in table.arms]
    _fill(tested, table, headings, [(row[1], row[2], row[3], row[-2], row[-1]) for row in cells])
    tables = [tested]
    for start in range(0, len(others), METRICS_IN_A_TABLE):
        names = others[start : start + METRICS_IN_A_TABLE]
        more = Table(box=box.SIMPLE_HEAD)
        rows = [[estimate_text(arm.estimates[name]) for name in names] for arm in table.arms]
        _fill(more, table, [heading(name, table) for name in names], rows)
        tables.append(more)
    return tables


def _fill(shown: Table, table: StudyTable, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown.add_column("arm")
    for words in headings:
        shown.add_column(words, justify="right")
    for arm, row in zip(table.arms, rows, strict=True):
        link = f"link {arm.runs[0].cell.folder.parent.resolve().as_uri()}"
        shown.add_row(*(Text(cell.replace(" [", "\n["), style=link) for cell in (arm.name, *row)))


def _tell(event: Event, told: Console) -> None:
    kind, warning = event["event"], warning_of(event)
    if kind == "study_started":
        numbers = (event[name] for name in ("cells", "to_do", "jobs", "threads", "seconds"))
        told.print(f"{event['name']}: {_plan_text(*numbers)}")
    elif kind == "cell_started":
        told.print(f"  started   {event['cell']}")
    elif kind == "cell_finished":
        told.print(f"  finished  {event['cell']} ({event['left']} of {event['of']} left)")
    elif kind == "cell_failed":
        told.print(f"  failed    {event['cell']} (exit code {event['exit_code']})\n{event['message']}")
    elif kind == "compiling":
        told.print(event["message"])
    elif warning is not None:
        told.print(warning)


def _plan_text(num_runs: int, num_to_do: int, jobs: int, threads: int, seconds: float) -> str:
    if not num_to_do:
        return f"all {num_runs} runs are finished"
    finished = f", {num_runs - num_to_do} of them finished" if num_to_do < num_runs else ""
    of_each = f"{threads} thread{'s' * (threads > 1)} each"
    return f"{num_runs} runs{finished}; about {duration(seconds)} for the rest, {jobs} at a time, {of_each}"
