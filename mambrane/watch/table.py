"""The forgetting matrix as a table for the console."""

from rich.table import Table
from rich.text import Text

from mambrane.continual.matrix import ForgettingMatrix, Metric

TITLES = {
    "final_average": "final average, bits per byte",
    "average_incremental": "average incremental, bits per byte",
    "learned_loss": "loss right after learning, bits per byte",
    "backward_transfer": "backward transfer (positive is good)",
    "forgetting": "forgetting (0 is none)",
    "forward_transfer": "forward transfer (positive is good)",
    "lost_gain_fraction": "part of the gain that was lost",
    "intransigence": "intransigence, against joint training",
}


def matrix_table(matrix: ForgettingMatrix) -> Table:
    """Return losses in bits per byte by row (tasks learned) and domain; a task's own cell is bold."""
    table = Table(title="Forgetting matrix: held-out bits per byte (perplexity)")
    table.add_column("after task")
    for domain in matrix.domains:
        table.add_column(domain, justify="right")
    one_domain_a_task = matrix.num_tasks == len(matrix.domains)
    for row in range(matrix.num_tasks + 1):
        own = row - 1 if one_domain_a_task else None
        name = "none" if row == 0 else f"{row} {matrix.domains[row - 1]}" if one_domain_a_task else "joint"
        table.add_row(name, *(_cell(matrix, row, column, column == own) for column in range(len(matrix.domains))))
    return table


def metrics_table(metrics: dict[str, Metric]) -> Table:
    """Return one line a metric; where it is undefined, the reason."""
    table = Table("metric", "value")
    for name, metric in metrics.items():
        value = Text(f"undefined: {metric.reason}", style="dim") if metric.value is None else f"{metric.value:.4f}"
        table.add_row(TITLES[name], value)
    return table


def _cell(matrix: ForgettingMatrix, row: int, column: int, own: bool) -> Text:
    loss, perplexity = matrix.bits_per_byte[row][column], matrix.perplexity[row][column]
    if loss is None or perplexity is None:
        return Text("-", style="dim")
    return Text(f"{loss:.3f} ({perplexity:.4g})", style="bold" if own else "")
