"""A run in a notebook: one display that changes in place, with progress, losses and the forgetting matrix."""

from collections.abc import Callable
from html import escape

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.events import Event
from mambrane.report.heat import Heat, heat_table
from mambrane.watch import formatting
from mambrane.watch.event_messages import warning_of
from mambrane.watch.numbers import matrix_of
from mambrane.watch.progress import RunProgress
from mambrane.watch.table import metric_text, metric_title

SECONDS_BETWEEN_UPDATES = 1.0
SHOWN_WARNINGS = 5


class NotebookListener:
    """Shows a run in a Jupyter notebook: `train(config, listeners=[NotebookListener()])`.

    Args:
        show: puts HTML where the last HTML stood; IPython's display if None.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._show = show or _ipython_display()
        self._progress = RunProgress()
        self._matrix: ForgettingMatrix | None = None
        self._warnings: list[str] = []
        self._state = "preparing"
        self._shown_s = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event in, and show what has changed: steps at a steady rhythm, all else at once."""
        kind, time_s = event["event"], event.get("time_s", 0.0)
        self._progress(event)
        if kind == "matrix":
            self._matrix = matrix_of(event)
        elif kind == "stopped":
            self._state = f"stopped: {event['reason']}"
        elif kind == "run_finished":
            self._state = "finished"
        elif kind == "task_started":
            self._state = "training"
        warning = warning_of(event)
        if warning is not None:
            self._warnings = [*self._warnings, warning][-SHOWN_WARNINGS:]
        is_due = kind == "step" and time_s - self._shown_s >= SECONDS_BETWEEN_UPDATES
        if is_due or warning or kind in ("task_started", "matrix", "stopped", "run_finished"):
            self._shown_s = time_s
            self._show(self.html())

    def html(self) -> str:
        """Return what is shown now."""
        progress, pieces = self._progress, []
        done = progress.done_ratio if self._state == "training" else float(self._state == "finished")
        label = f"task {progress.task + 1} of {progress.num_tasks}: {progress.task_name}" if progress.task_name else ""
        pieces.append(
            f"<div><b>{escape(self._state)}</b> {escape(label)} "
            f'<progress value="{done:.3f}" max="1" aria-label="part of the task">{done:.0%}</progress></div>'
        )
        loss, speed = progress.mean("loss"), progress.tokens_per_s
        if loss is not None and speed is not None:
            left = progress.seconds_left
            words = [f"loss {formatting.decimal(loss)} nats per token", f"{formatting.count(speed)} tokens/s"]
            if left is not None and self._state == "training":
                words.append(f"{formatting.duration(left)} left")
            pieces.append(f"<div>{escape(', '.join(words))}</div>")
        if self._matrix is not None and self._matrix.has_values:
            pieces.append(matrix_html(self._matrix))
        pieces += [f"<div>warning: {escape(sentence)}</div>" for sentence in self._warnings]
        return "\n".join(pieces)


def matrix_html(matrix: ForgettingMatrix) -> str:
    """Return a forgetting matrix and its metrics as HTML."""
    rows = [
        ("untrained" if row == 0 else f"after {row}", values)
        for row, values in enumerate(matrix.values)
        if any(value is not None for value in values)
    ]
    heat = heat_table(Heat(["held-out " + matrix.measure.title, *matrix.domains], rows, logarithmic=True))
    metrics = [
        f"<li>{escape(metric_title(name, matrix.measure))}: {escape(metric_text(name, metric, matrix.measure))}</li>"
        for name, metric in matrix.metrics().items()
        if metric.value is not None
    ]
    return heat + (f"<ul>{''.join(metrics)}</ul>" if metrics else "")


def _ipython_display() -> Callable[[str], None]:
    """Return what shows HTML in the output of the cell that is running, always in the same place."""
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return lambda html: handle.update(HTML(html))
