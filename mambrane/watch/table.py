"""What a run has learned, as tables for the console: the forgetting matrix, its metrics, training beside held-out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from mambrane.continual.forgetting_metrics import Metric
from mambrane.continual.matrix import JOINT_NAME, ForgettingMatrix
from mambrane.continual.measure import Measure
from mambrane.watch.formatting import percent, shortened
from mambrane.watch.history import RunHistory

TITLES = {
    "final_average": "final average",
    "average_incremental": "average incremental",
    "learned_average": "average right after learning",
    "backward_transfer": "backward transfer (positive is good)",
    "forgetting": "forgetting (0 is none)",
    "forward_transfer": "forward transfer (positive is good)",
    "lost_gain_fraction": "part of the gain that was lost",
    "intransigence": "intransigence, against joint training",
    "reference_drift": "drift on the reference text (0 is none)",
    "gap_closed": "gap closed, from naive to joint training",
}
RATIOS = frozenset({"lost_gain_fraction", "gap_closed"})
"""Metrics without a unit, shown in per cent; all others are in the unit of the measure."""
NARROWEST, WIDEST_NAME = 80, 12
CELL_WIDTH = 6
MOST_DOMAINS = 12
"""With more, a matrix is no longer read cell by cell: a row a domain says what was learned and kept."""
LAST_STEPS = 20
"""Training loss is the mean over this many last steps of a task."""


def metric_title(name: str, measure: Measure) -> str:
    """Return what a metric of the matrix is, with its unit."""
    return TITLES[name] if name in RATIOS else f"{TITLES[name]}, {measure.title}"


def metric_text(name: str, metric: Metric, measure: Measure) -> str:
    """Return a metric with its unit; where it is undefined, the reason."""
    if metric.value is None:
        return f"undefined: {metric.reason}"
    return percent(metric.value) if name in RATIOS else f"{metric.value:.3f} {measure.unit}"


def matrix_tables(matrix: ForgettingMatrix, width: int = NARROWEST) -> list[Table]:
    """Return losses by row (tasks learned) and domain, in as many tables as the width asks for; own cells are bold.

    Args:
        matrix: the matrix, measured or not.
        width: columns of the terminal; what is narrower than 80 is drawn for 80.
    """
    if len(matrix.domains) > MOST_DOMAINS:
        return [_summary_table(matrix)]
    names = [shortened(domain, WIDEST_NAME) for domain in matrix.domains]
    first_width = max(len("after task"), *(len(_row_name(matrix, row)) for row in range(matrix.num_tasks + 1)))
    # A column takes its width, a space on each side, and one between columns.
    room, chunks = max(width, NARROWEST) - first_width - 4, [[0]]
    left = room - _column_width(names[0])
    for column in range(1, len(names)):
        left -= _column_width(names[column])
        if left < 0:
            chunks.append([])
            left = room - _column_width(names[column])
        chunks[-1].append(column)
    return [_chunk_table(matrix, names, chunk) for chunk in chunks]


def metrics_table(matrix: ForgettingMatrix) -> Table:
    """Return one line a metric; where it is undefined, the reason."""
    table = Table("metric", "value", box=box.SIMPLE_HEAD)
    for name, metric in matrix.metrics().items():
        words = metric_text(name, metric, matrix.measure)
        table.add_row(TITLES[name], Text(words, style="dim" if metric.value is None else ""))
    return table


def cost_table(title: str, before: Mapping[str, float | None], after: Mapping[str, float | None], unit: str) -> Table:
    """Return what a task changed on each domain.

    Args:
        title: which task.
        before: the measure before the task, by domain.
        after: the same after it.
        unit: of the measure.
    """
    table = Table(box=box.SIMPLE_HEAD, title=f"{title}, {unit}", title_justify="left")
    for heading in ("domain", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "domain" else "right", no_wrap=True)
    for domain, value in after.items():
        old = before.get(domain)
        change = "-" if old is None or value is None else f"{value - old:+.3f}"
        numbers = ("-" if number is None else f"{number:.3f}" for number in (old, value))
        table.add_row(Text(shortened(domain, 3 * WIDEST_NAME)), *numbers, change)
    return table


def cost_of_last_task(matrix: ForgettingMatrix) -> Table:
    """Return what the last task changed on each domain."""
    before, after = (dict(zip(matrix.domains, row, strict=True)) for row in matrix.values[-2:])
    return cost_table(
        f"What learning {matrix.task_name(matrix.num_tasks - 1)} changed", before, after, matrix.measure.unit
    )


def cost_of_attempt(attempt: Mapping[str, Any], unit: str) -> Table:
    """Return what a task that was taken back would have changed on each domain."""
    title = f"What learning {attempt['name']} would have changed"
    return cost_table(title, attempt["before"], attempt["after"], unit)


def learning_table(history: RunHistory, matrix: ForgettingMatrix) -> Table | None:
    """Return training and held-out loss of each task side by side; None where no task has both.

    Args:
        history: what the run's log says.
        matrix: the run's matrix.
    """
    training, replayed = history.series(matrix.measure.name), history.series("replay/fraction")
    if training is None:
        return None
    title = f"Training and held-out text at the end of each task, {matrix.measure.title}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for heading in ("task", "training", "held-out", "gap", "replayed text in the batches"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for task in history.tasks():
        inside = (training.steps > task.first_step) & (training.steps <= task.last_step)
        heldout = matrix.value_after(task.task)
        if not inside.any() or heldout is None:
            continue
        loss = float(training.values[inside][-LAST_STEPS:].mean())
        mixed = 0.0
        if replayed is not None:
            own = (replayed.steps > task.first_step) & (replayed.steps <= task.last_step)
            mixed = float(replayed.values[own].mean()) if own.any() else 0.0
        name = f"{task.task + 1} {shortened(task.name, WIDEST_NAME)}"
        table.add_row(name, f"{loss:.3f}", f"{heldout:.3f}", f"{heldout - loss:.3f}", percent(mixed))
    return table if table.row_count else None


def _column_width(name: str) -> int:
    return max(len(name), CELL_WIDTH) + 3


def _row_name(matrix: ForgettingMatrix, row: int) -> str:
    if row == 0:
        return "none"
    name = shortened(matrix.task_name(row - 1), WIDEST_NAME)
    return name if name == JOINT_NAME and matrix.num_tasks == 1 else f"{row} {name}"


def _chunk_table(matrix: ForgettingMatrix, names: Sequence[str], columns: Sequence[int]) -> Table:
    title = f"Held-out {matrix.measure.title} by tasks learned (forgetting matrix)"
    if len(columns) < len(names):
        title += f", domains {columns[0] + 1} to {columns[-1] + 1} of {len(names)}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("after task", no_wrap=True)
    for column in columns:
        table.add_column(Text(names[column]), justify="right", no_wrap=True)
    for row in range(matrix.num_tasks + 1):
        own = matrix.task_columns[row - 1] if row > 0 else ()
        cells = (_cell(matrix, row, column, own == (column,)) for column in columns)
        table.add_row(Text(_row_name(matrix, row)), *cells)
    return table


def _summary_table(matrix: ForgettingMatrix) -> Table:
    """Return a row a domain: before training, right after its own task, at the end."""
    table = Table(box=box.SIMPLE_HEAD, title=f"Held-out {matrix.measure.title} of each domain", title_justify="left")
    for heading in ("domain", "before training", "after its task", "at the end"):
        table.add_column(heading, justify="left" if heading == "domain" else "right", no_wrap=True)
    for column, domain in enumerate(matrix.domains):
        rows = (0, matrix.own_row(column) or matrix.num_tasks, matrix.num_tasks)
        table.add_row(Text(shortened(domain, 3 * WIDEST_NAME)), *(_cell(matrix, row, column, False) for row in rows))
    return table


def _cell(matrix: ForgettingMatrix, row: int, column: int, own: bool) -> Text:
    value = matrix.values[row][column]
    return Text("-", style="dim") if value is None else Text(f"{value:.3f}", style="bold" if own else "")
