"""The run as one watches it: a live display on a terminal, plain lines at a steady rhythm in a log file.

A listener of the event log: it shows what the events say and nothing else, so a log can be replayed through it. Most
kinds are a line in `watch/event_messages.py`; a kind without a message stays in the log. Here are those that need the
numbers of others, with the fields that are read:

    run_started       num_tasks, total_steps, parameters, output_dir, device, shown_numbers (name, title, headline)
    expected_time     seconds, steps_left, smaller_presets
    domain            name, train_bytes, heldout_bytes, bytes_there
    operations        for each operation, what computes it and why
    task_started      task (from 0), name, epochs, steps (of the whole task), steps_before (of earlier tasks),
                      steps_done (after a resume)
    step              state (COMMITTED, SKIPPED, EMPTY), step, epoch (from 0), loss (nats per token), bits_per_byte,
                      tokens, tokens_per_s, gradient_norm, learning_rate, scale, numbers (of methods, by name)
    epoch_finished    task, epoch, loss
    evaluation        row (tasks learned so far), domain, measure (its name), unit, the value by that name, perplexity
    matrix            the state of a ForgettingMatrix
    checkpoint_saved  step, num_bytes
    stopped           reason
    run_finished      step
"""

import io
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.events import Event
from mambrane.watch import formatting
from mambrane.watch.event_messages import note_of, warning_of
from mambrane.watch.numbers import matrix_of
from mambrane.watch.plain_console import plain_console
from mambrane.watch.progress import RunProgress
from mambrane.watch.table import matrix_tables, metrics_table

SECONDS_BETWEEN_LINES = 10.0
LOG_WIDTH = 80
LONG_S = 3 * 3600.0
"""A run that is expected to take longer is told of smaller presets."""
NO_BREAK = "\u00a0"
"""A space at which no line is broken: between a number and its unit."""


class ConsoleListener:
    """Shows a run on a terminal or in a log file.

    Args:
        file: where to write; standard output if None.
        seconds_between_lines: rhythm of the step lines when the output is not a terminal, in the events' own time.
    """

    def __init__(
        self, file: io.TextIOBase | None = None, *, seconds_between_lines: float = SECONDS_BETWEEN_LINES
    ) -> None:
        output: Any = sys.stdout if file is None else file
        width = None if output.isatty() else LOG_WIDTH
        self.console = plain_console(output, width=width)
        self.seconds_between_lines = seconds_between_lines
        self.progress = RunProgress()
        self._live: Live | None = None
        self._last_line_s = float("-inf")
        self._matrix: ForgettingMatrix | None = None
        self._show: dict[str, Callable[[Event], None]] = {
            "run_started": self._run_started,
            "expected_time": self._expected_time,
            "task_started": self._task_started,
            "step": self._step,
            "epoch_finished": self._epoch_finished,
            "domain": self._domain,
            "evaluation": self._evaluation,
            "matrix": self._matrix_measured,
            "checkpoint_saved": self._checkpoint_saved,
            "stopped": self._stopped,
            "run_finished": self._run_finished,
            "operations": self._operations,
        }

    @property
    def kinds(self) -> set[str]:
        """Kinds that it shows in its own way."""
        return set(self._show)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self.progress(event)
        self._show.get(event["event"], self._one_line)(event)

    def close(self) -> None:
        """Take the live display away; lines printed so far stay."""
        live, self._live = self._live, None
        if live is not None:
            # The terminal may be gone, and with it the display.
            with suppress(OSError, SystemExit):
                live.stop()

    def _say(self, event: Event, words: str, style: str = "") -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(event["time_s"]))
        self.console.print(Text.assemble((clock, "dim"), "  ", (words, style)), soft_wrap=True)

    def _run_started(self, event: Event) -> None:
        parts = [f"run {event['output_dir']}"] if "output_dir" in event else ["run"]
        if "parameters" in event:
            parts.append(f"{formatting.count(event['parameters'])} parameters")
        parts.append(f"{self.progress.num_tasks} task" + "s" * (self.progress.num_tasks > 1))
        parts += [str(event["device"])] if "device" in event else []
        self._say(event, "   ".join(parts), "bold")

    def _expected_time(self, event: Event) -> None:
        steps = formatting.count(event["steps_left"])
        about = f"about {formatting.duration(event['seconds'])} for {steps} steps, at the speed of a few measured now"
        self._say(event, about, "bold")
        if event["seconds"] > LONG_S and event["smaller_presets"]:
            presets = " or ".join(f"--preset {name}" for name in event["smaller_presets"])
            self._say(event, f"that is long; {presets} takes less (mambrane train --help says how much)", "yellow")

    def _task_started(self, event: Event) -> None:
        epochs = f"{event['epochs']} epoch" + "s" * (event["epochs"] > 1)
        steps = f"{formatting.count(event['steps'])} steps"
        self._say(event, f"{task_label(self.progress)} starts: {epochs}, {steps}", "bold")

    def _operations(self, event: Event) -> None:
        names_by_reason: dict[str, list[str]] = {}
        for name, reason in event.items():
            if name not in HEADER_FIELDS:
                names_by_reason.setdefault(str(reason), []).append(name)
        for reason, names in names_by_reason.items():
            self._say(event, f"operations {', '.join(names)}: {reason}")

    def _step(self, event: Event) -> None:
        if self.console.is_terminal:
            self._show_live()
            return
        is_last = self.progress.steps_closed >= self.progress.num_steps
        if is_last or event["time_s"] - self._last_line_s >= self.seconds_between_lines:
            self._last_line_s = event["time_s"]
            line = [task_label(self.progress), *position_text(self.progress), *number_texts(self.progress)]
            self._say(event, "  ".join(line))

    def _show_live(self) -> None:
        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        self._live.update(live_display(self.progress))

    def _epoch_finished(self, event: Event) -> None:
        mean = event["loss"]
        loss = "nothing was learned" if mean is None else f"mean loss {formatting.decimal(mean)} nats/token"
        epoch = f"epoch {event['epoch'] + 1}/{self.progress.num_epochs}"
        self._say(event, f"{task_label(self.progress)}  {epoch} finished  {loss}")

    def _domain(self, event: Event) -> None:
        learned, heldout = formatting.size(event["train_bytes"]), formatting.size(event["heldout_bytes"])
        there = f", of {formatting.size(event['bytes_there'])}" if event.get("bytes_there") else ""
        self._say(event, f"domain {formatting.visible(event['name'])}: {learned} to learn, {heldout} held out{there}")

    def _evaluation(self, event: Event) -> None:
        row = event["row"]
        when = "before training" if row == 0 else f"after {row} task{'s' * (row > 1)}"
        value = f"{formatting.decimal(event[event['measure']])} {event['unit']}"
        self._say(event, f"{when}: held-out {formatting.visible(event['domain'])} {value}")

    def _matrix_measured(self, event: Event) -> None:
        """Keep the matrix; where a task has just been learned, put its training and held-out loss side by side."""
        self._matrix = matrix = matrix_of(event)
        task, training = self.progress.task, self.progress.mean(matrix.measure.name)
        value = matrix.value_after(task)
        if training is None or value is None or matrix.missing(task + 1):
            return
        unit, heldout = matrix.measure.unit, formatting.decimal(value, 2)
        replayed = self.progress.mean_number("replay/fraction")
        mixed = f" (batches with {formatting.percent(replayed)} replayed text)" if replayed else ""
        words = f"training {formatting.decimal(training, 2)} {unit}{mixed}, held-out {heldout} {unit}"
        self._say(event, f"{task_label(self.progress)} learned: {words}", "bold")

    def _checkpoint_saved(self, event: Event) -> None:
        step = formatting.count(event["step"])
        self._say(event, f"checkpoint after step {step} saved ({formatting.size(event['num_bytes'])})", "dim")

    def _stopped(self, event: Event) -> None:
        self.close()
        self._say(event, f"stopped: {event['reason']}; the same command goes on from here", "yellow")
        if self._matrix is not None and not self._matrix.missing(1):
            self.console.print(*matrix_tables(self._matrix, self.console.width), sep="\n")

    def _run_finished(self, event: Event) -> None:
        self.close()
        steps = f" after {formatting.count(event['step'])} steps" if "step" in event else ""
        self._say(event, f"finished{steps}", "bold")
        if self._matrix is not None:
            tables = matrix_tables(self._matrix, self.console.width)
            self.console.print("", *tables, metrics_table(self._matrix), sep="\n")

    def _one_line(self, event: Event) -> None:
        warning, note = warning_of(event), note_of(event)
        if warning is not None:
            self._say(event, f"warning: {warning}", "yellow")
        elif note is not None:
            self._say(event, note)


HEADER_FIELDS = ("time_s", "event")


def task_label(progress: RunProgress) -> str:
    """Return which task is running: `task 2/5 python`."""
    return f"task {progress.task + 1}/{progress.num_tasks} {formatting.visible(progress.task_name)}".rstrip()


def position_text(progress: RunProgress) -> list[str]:
    """Return where in the task the run is: epoch and step, each out of how many."""
    total = formatting.count(progress.num_steps)
    return [
        f"epoch {progress.latest['epoch'] + 1}/{progress.num_epochs}",
        f"step {formatting.count(progress.steps_closed).rjust(len(total))}/{total}",
    ]


def number_texts(progress: RunProgress) -> list[str]:
    """Return the measured numbers, each with its unit; those that a run does not have are left out."""
    latest, left = progress.latest, progress.seconds_left
    bits = progress.mean("bits_per_byte")
    shown: list[tuple[Any, Callable[[Any], str]]] = [
        (bits, lambda bits: f"training loss {formatting.decimal(bits, 2)} bits/byte"),
        (
            progress.mean("loss") if bits is None else None,
            lambda loss: f"training loss {formatting.decimal(loss)} nats/token",
        ),
        (progress.tokens_per_s, lambda speed: f"{formatting.count(speed)} tokens/s"),
        (latest.get("gradient_norm"), lambda norm: f"gradient {formatting.compact(norm)}"),
        (latest.get("learning_rate"), lambda rate: f"lr {formatting.compact(rate)}"),
        (latest.get("scale"), lambda scale: f"scale {formatting.compact(scale)}" if scale != 1 else ""),
        (progress.num_skipped or None, lambda number: f"{number} step{'s' * (number > 1)} skipped"),
    ]
    words = [say(number) for number, say in shown if number is not None]
    time_left = [] if left is None else [f"{formatting.duration(left)} left"]
    return [*filter(None, words), *_headlines(progress), *time_left]


def _headlines(progress: RunProgress) -> list[str]:
    """Return the numbers of methods that stand on the line, in percent, as the methods word them."""
    means = [(number["headline"], progress.mean_number(number["name"])) for number in progress.shown_numbers]
    return [headline.format(formatting.percent(mean)) for headline, mean in means if headline and mean]


def live_display(progress: RunProgress) -> Group:
    """Return the display that is redrawn in place: the task, a bar, the numbers."""
    heading = Text(_unbroken([task_label(progress), *position_text(progress)]), style="bold")
    bar = Table.grid(padding=(0, 2))
    done = f"{100 * progress.done_ratio:.0f} %"
    bar.add_row(ProgressBar(total=1.0, completed=progress.done_ratio, width=60), done)
    return Group(heading, bar, Text(_unbroken(number_texts(progress))))


def _unbroken(parts: Sequence[str]) -> str:
    """Return the parts in a line that may be broken between them only."""
    return f"{NO_BREAK}{NO_BREAK} ".join(part.replace(" ", NO_BREAK) for part in parts)
