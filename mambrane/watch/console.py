"""The run as one watches it: a live display on a terminal, plain lines at a steady rhythm in a log file.

A listener of the event log: it shows what the events say and nothing else, so a log can be replayed through it. It
reads these kinds and fields (others are printed as `kind field=value`, so that nothing is silent; `task_finished`,
`checkpoint_loaded` and `checkpoint_removed` say nothing new):

    run_started       num_tasks, total_windows, parameters, output_dir, device
    settings_filled_in  settings (by dotted name: those that the run was saved without)
    resumed           step
    task_started      task (from 0), name, epochs, windows (of the whole task), windows_before (of earlier tasks),
                      windows_done (after a resume)
    window            state (COMMITTED, SKIPPED, EMPTY), step, epoch (from 0), loss (nats per token), bits_per_byte,
                      tokens, tokens_per_s, gradient_norm, learning_rate, scale, firing_rate, replayed_fraction
    window_skipped    window (closed windows of the run), reason
    epoch_finished    task, epoch, loss
    evaluation        row (tasks learned so far), domain, measure (its name), unit, the value by that name, perplexity
    matrix            the state of a ForgettingMatrix
    domain            name, train_bytes, heldout_bytes
    checkpoint_saved  step, num_bytes
    text_left_out     message
    cache_damaged     message
    tokenizer_trained  message
    warning           message
    operations        for each operation, what computes it and why
    stopped           reason
    run_finished      step
"""

import io
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.events import Event
from mambrane.watch import wording
from mambrane.watch.progress import RunProgress
from mambrane.watch.table import matrix_table, metrics_table

SECONDS_BETWEEN_LINES = 10.0
LOG_WIDTH = 160


class ConsoleListener:
    """Shows a run on a terminal or in a log file.

    Args:
        file: where to write; standard output if None.
        seconds_between_lines: rhythm of the window lines when the output is not a terminal, in the events' own time.
    """

    def __init__(
        self, file: io.TextIOBase | None = None, *, seconds_between_lines: float = SECONDS_BETWEEN_LINES
    ) -> None:
        file = sys.stdout if file is None else file
        width = None if file.isatty() else LOG_WIDTH
        self.console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
        self.seconds_between_lines = seconds_between_lines
        self.progress = RunProgress()
        self._live: Live | None = None
        self._last_line_s = float("-inf")
        self._matrix: ForgettingMatrix | None = None
        self._show: dict[str, Callable[[Event], None]] = {
            "run_started": self._run_started,
            "resumed": lambda event: self._say(event, f"resumed after window {wording.count(event['step'])}"),
            "settings_filled_in": self._settings_filled_in,
            "task_started": self._task_started,
            "window": self._window,
            "window_skipped": self._window_skipped,
            "epoch_finished": self._epoch_finished,
            "domain": self._domain,
            "evaluation": self._evaluation,
            "matrix": self._keep_matrix,
            "checkpoint_saved": self._checkpoint_saved,
            "stopped": self._stopped,
            "run_finished": self._run_finished,
            "operations": self._operations,
            "task_finished": _say_nothing,
            "checkpoint_loaded": _say_nothing,
            "checkpoint_removed": _say_nothing,
            "compiling": lambda event: self._say(event, event["message"]),
            "text_left_out": lambda event: self._say(event, f"text left out: {event['message']}", "yellow"),
            "tokenizer_trained": lambda event: self._say(event, event["message"]),
            "cache_damaged": lambda event: self._say(event, event["message"], "yellow"),
            "warning": lambda event: self._say(event, f"warning: {event['message']}", "yellow"),
        }

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self.progress(event)
        self._show.get(event["event"], self._unknown)(event)

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
            parts.append(f"{wording.count(event['parameters'])} parameters")
        parts.append(f"{self.progress.num_tasks} task" + "s" * (self.progress.num_tasks > 1))
        parts += [str(event["device"])] if "device" in event else []
        self._say(event, "   ".join(parts), "bold")

    def _settings_filled_in(self, event: Event) -> None:
        settings = ", ".join(f"{name} = {wording.value(item)}" for name, item in event["settings"].items())
        self._say(event, f"the run was saved before these settings existed; they stand at {settings}", "yellow")

    def _task_started(self, event: Event) -> None:
        epochs = f"{event['epochs']} epoch" + "s" * (event["epochs"] > 1)
        windows = f"{wording.count(event['windows'])} windows"
        self._say(event, f"{task_words(self.progress)} starts: {epochs}, {windows}", "bold")

    def _operations(self, event: Event) -> None:
        names_by_reason: dict[str, list[str]] = {}
        for name, reason in event.items():
            if name not in HEADER_FIELDS:
                names_by_reason.setdefault(str(reason), []).append(name)
        for reason, names in names_by_reason.items():
            self._say(event, f"operations {', '.join(names)}: {reason}")

    def _window(self, event: Event) -> None:
        if self.console.is_terminal:
            self._show_live()
            return
        is_last = self.progress.window >= self.progress.num_windows
        if is_last or event["time_s"] - self._last_line_s >= self.seconds_between_lines:
            self._last_line_s = event["time_s"]
            line = [task_words(self.progress), *position_words(self.progress), *number_words(self.progress)]
            self._say(event, "  ".join(line))

    def _show_live(self) -> None:
        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        self._live.update(live_display(self.progress))

    def _window_skipped(self, event: Event) -> None:
        self._say(event, f"window {wording.count(event['window'])} skipped: {event['reason']}", "yellow")

    def _epoch_finished(self, event: Event) -> None:
        loss = (
            "nothing was learned" if event["loss"] is None else f"mean loss {wording.decimal(event['loss'])} nats/token"
        )
        epoch = f"epoch {event['epoch'] + 1}/{self.progress.num_epochs}"
        self._say(event, f"{task_words(self.progress)}  {epoch} finished  {loss}")

    def _domain(self, event: Event) -> None:
        learned, heldout = wording.size(event["train_bytes"]), wording.size(event["heldout_bytes"])
        self._say(event, f"domain {event['name']}: {learned} of text to learn, {heldout} held out")

    def _evaluation(self, event: Event) -> None:
        when = "before training" if event["row"] == 0 else f"after task {event['row']}"
        value = f"{wording.decimal(event[event['measure']])} {event['unit']}"
        details = f" (perplexity {wording.compact(event['perplexity'])})" if "perplexity" in event else ""
        self._say(event, f"{when}: {event['domain']} {value}{details}")

    def _keep_matrix(self, event: Event) -> None:
        self._matrix = ForgettingMatrix(event["domains"], event["num_tasks"])
        self._matrix.load_state_dict(event)

    def _checkpoint_saved(self, event: Event) -> None:
        step = wording.count(event["step"])
        self._say(event, f"checkpoint after window {step} saved ({wording.size(event['num_bytes'])})", "dim")

    def _stopped(self, event: Event) -> None:
        self.close()
        self._say(event, f"stopped: {event['reason']}; the run can be resumed", "yellow")
        if self._matrix is not None and not self._matrix.missing(1):
            self.console.print(matrix_table(self._matrix))

    def _run_finished(self, event: Event) -> None:
        self.close()
        steps = f" after {wording.count(event['step'])} windows" if "step" in event else ""
        self._say(event, f"finished{steps}", "bold")
        if self._matrix is not None:
            self.console.print()
            self.console.print(matrix_table(self._matrix), metrics_table(self._matrix), sep="\n")

    def _unknown(self, event: Event) -> None:
        fields = "  ".join(f"{key}={wording.value(item)}" for key, item in event.items() if key not in HEADER_FIELDS)
        self._say(event, f"{event['event']}  {fields}".rstrip())


def _say_nothing(event: Event) -> None:
    pass


HEADER_FIELDS = ("time_s", "event")


def task_words(progress: RunProgress) -> str:
    """Return which task is running: `task 2/5 python`."""
    return f"task {progress.task + 1}/{progress.num_tasks} {progress.task_name}".rstrip()


def position_words(progress: RunProgress) -> list[str]:
    """Return where in the task the run is: epoch and window, each out of how many."""
    total = wording.count(progress.num_windows)
    return [
        f"epoch {progress.latest['epoch'] + 1}/{progress.num_epochs}",
        f"window {wording.count(progress.window).rjust(len(total))}/{total}",
    ]


def number_words(progress: RunProgress) -> list[str]:
    """Return the measured numbers, each with its unit; those that a run does not have are left out."""
    latest, left = progress.latest, progress.seconds_left
    shown: list[tuple[Any, Callable[[Any], str]]] = [
        (progress.mean("loss"), lambda loss: f"loss {wording.decimal(loss)} nats/token"),
        (progress.mean("bits_per_byte"), lambda bits: f"{wording.decimal(bits, 2)} bits/byte"),
        (progress.tokens_per_s, lambda speed: f"{wording.count(speed)} tokens/s"),
        (latest.get("firing_rate"), lambda rate: f"firing {wording.percent(rate)}"),
        (latest.get("gradient_norm"), lambda norm: f"gradient {wording.compact(norm)}"),
        (latest.get("learning_rate"), lambda rate: f"lr {wording.compact(rate)}"),
        (latest.get("scale"), lambda scale: f"scale {wording.compact(scale)}" if scale != 1 else ""),
        (latest.get("replayed_fraction"), lambda part: f"replayed {wording.percent(part)}" if part else ""),
        (progress.num_skipped or None, lambda number: f"{number} skipped"),
        (left, lambda seconds: f"{wording.duration(seconds)} left"),
    ]
    words = [say(number) for number, say in shown if number is not None]
    return [word for word in words if word]


def live_display(progress: RunProgress) -> Group:
    """Return the display that is redrawn in place: the task, a bar, the numbers."""
    heading = Text("   ".join([task_words(progress), *position_words(progress)]), style="bold")
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=1.0, completed=progress.done_ratio, width=60),
        f"{100 * progress.done_ratio:.0f} %",
    )
    return Group(heading, bar, Text("   ".join(number_words(progress))))
