"""`mambrane learn RUN --data ...`: teach a run more, and show what that cost what it knew."""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from mambrane.app.streams import flush_or_give_up
from mambrane.core.launch import is_first_process
from mambrane.core.memory import keep_freed_memory
from mambrane.planning.lesson_plan import plan_lesson
from mambrane.run.run import Run
from mambrane.training.learn import learn as learn_run
from mambrane.watch.console import ConsoleListener
from mambrane.watch.formatting import duration
from mambrane.watch.plain_console import plain_console
from mambrane.watch.table import cost_of_attempt, cost_of_last_task


def learn(run: Path, settings: Mapping[str, Any]) -> int:
    """Learn, or resume; returns 0 at the end, 3 where a task was taken back, 128 + signal number after a signal."""
    keep_freed_memory()
    console = ConsoleListener()
    rows_before = num_rows(run)
    others = {name: value for name, value in settings.items() if name != "data"}
    with closing(console):
        learned = learn_run(run, settings["data"], listeners=[console], **others)
    assert learned.outcome is not None, "a run that was taught has one"
    if learned.outcome.is_finished and is_first_process():
        with suppress(OSError, SystemExit):
            _print_cost(learned, learned.outcome.taken_back, is_longer=num_rows(run) > rows_before)
    # Whether anybody could read along changes nothing about the run.
    flush_or_give_up("stdout")
    return learned.outcome.exit_code


def print_plan(run: Path, settings: Mapping[str, Any]) -> int:
    """Print what `learn` would do, and do nothing of it."""
    plan = plan_lesson(run, **settings)
    output = plain_console()
    output.print(f"plan for {run}, which has {plan.num_before} tasks", soft_wrap=True)
    for sentence in plan.sentences:
        output.print(sentence, soft_wrap=True)
    for task in plan.tasks:
        epochs = f"{task.epochs:,} epoch" + "s" * (task.epochs > 1)
        output.print(f"task {task.name}: {epochs}, {task.steps:,} steps, {task.tokens:,} tokens", soft_wrap=True)
    if plan.tasks:
        output.print(f"about {duration(plan.seconds)}, at the speed of a few micro-batches measured now")
    return 0


def num_rows(run: Path) -> int:
    """Return the rows of a run's matrix in which something is measured; 0 where there is none yet."""
    matrix = Run.open(run).matrix
    return 0 if matrix is None else sum(any(cell is not None for cell in row) for row in matrix.values)


def _print_cost(run: Run, taken_back: Sequence[str], *, is_longer: bool) -> None:
    """Print what the last task changed, if it is new, and what those that were taken back would have."""
    output = plain_console()
    matrix = run.matrix
    if matrix is None:
        return
    if is_longer:
        output.print(cost_of_last_task(matrix))
    attempts = {attempt["name"]: attempt for attempt in run.tasks.attempts}
    for attempt in (attempts[name] for name in taken_back if name in attempts):
        output.print(cost_of_attempt(attempt, matrix.measure.unit))
        output.print(f"{attempt['name']} is taken back: {attempt['reason']}.", soft_wrap=True)
