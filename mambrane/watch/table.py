"""The forgetting matrix as a table for the console."""

from rich.table import Table
from rich.text import Text

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import Measure

TITLES = {
    "final_average": "final average, {unit}",
    "average_incremental": "average incremental, {unit}",
    "learned_average": "average right after learning, {unit}",
    "backward_transfer": "backward transfer, {unit} (positive is good)",
    "forgetting": "forgetting, {unit} (0 is none)",
    "forward_transfer": "forward transfer, {unit} (positive is good)",
    "lost_gain_fraction": "part of the gain that was lost",
    "intransigence": "intransigence, {unit} (against joint training)",
}


def metric_title(name: str, measure: Measure) -> str:
    """Return what a metric of the matrix is, with its unit."""
    return TITLES[name].format(unit=measure.title)


def matrix_table(matrix: ForgettingMatrix) -> Table:
    """Return the measured values by row (tasks learned) and domain; a task's own cell is bold."""
    details = f" ({', '.join(matrix.details)})" if matrix.details else ""
    table = Table(title=f"Forgetting matrix: held-out {matrix.measure.title}{details}")
    table.add_column("after task")
    for domain in matrix.domains:
        table.add_column(domain, justify="right")
    one_domain_a_task = matrix.num_tasks == len(matrix.domains)
    for row in range(matrix.num_tasks + 1):
        own = row - 1 if one_domain_a_task else None
        name = "none" if row == 0 else f"{row} {matrix.domains[row - 1]}" if one_domain_a_task else "joint"
        table.add_row(name, *(_cell(matrix, row, column, column == own) for column in range(len(matrix.domains))))
    return table


def metrics_table(matrix: ForgettingMatrix) -> Table:
    """Return one line a metric; where it is undefined, the reason."""
    table = Table("metric", "value")
    for name, metric in matrix.metrics().items():
        value = Text(f"undefined: {metric.reason}", style="dim") if metric.value is None else f"{metric.value:.4f}"
        table.add_row(metric_title(name, matrix.measure), value)
    return table


def _cell(matrix: ForgettingMatrix, row: int, column: int, own: bool) -> Text:
    value = matrix.values[row][column]
    if value is None:
        return Text("-", style="dim")
    details = [table[row][column] for table in matrix.details.values()]
    shown = ", ".join(f"{number:.4g}" for number in details if number is not None)
    return Text(f"{value:.3f}" + f" ({shown})" * bool(shown), style="bold" if own else "")
