"""What happened in a run, read back from its event log.

A run that was interrupted goes on from its last checkpoint, so its log holds some steps twice. What counts is what
went into the weights: "resumed after step n" takes back everything later than n, as does a task that is taken back.
A run that has started without "resumed" begins anew, and nothing of an earlier attempt counts. Of two lines for one
step the later one wins.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mambrane.core.events import Event
from mambrane.watch.going_back import BEFORE_EVERYTHING, GoingBack

ROUTINE_KINDS = frozenset(
    {
        "run_started",
        "resumed",
        "task_started",
        "step",
        "step_skipped",
        "epoch_finished",
        "epoch_measured",
        "task_finished",
        "task_decided",
        "evaluation",
        "matrix",
        "domain",
        "sample",
        "checkpoint_saved",
        "checkpoint_removed",
        "checkpoint_loaded",
        "stopped",
        "run_finished",
    }
)
SIGNS_OF_LIFE = frozenset({"run_started", "resumed", "step"})
NEEDED_FIELDS = {
    "resumed": ("step",),
    "task_started": ("task", "name"),
    "step": ("state", "step"),
    "task_taken_back": ("task", "step"),
    "weights_measured": ("step", "weights"),
    "stopped": ("reason",),
}
"""Without one of these an event cannot be placed and is left out."""
LOSS_GROUPS = ("terms", "penalties")
LONGEST_PAUSE_S = 600.0
"""A longer silence between two events is taken for an interruption and not counted as running time."""


class TaskSpan(NamedTuple):
    """A task and the applied steps in which it was learned: first_step < step <= last_step."""

    task: int
    name: str
    first_step: int
    last_step: int


class Series(NamedTuple):
    """A number by applied step."""

    steps: np.ndarray
    values: np.ndarray


@dataclass
class RunHistory:
    """The facts of a run that a report shows."""

    steps: dict[int, Event] = field(default_factory=dict)
    """The event of each applied step, by step."""
    starts: dict[int, Event] = field(default_factory=dict)
    """The latest "run_started" or "task_started" event: -1 is the run, others are tasks."""
    task_first_steps: dict[int, int] = field(default_factory=dict)
    """Applied steps before each task."""
    skipped_steps: list[int] = field(default_factory=list)
    """Applied steps before each step that was skipped."""
    weights: dict[int, Event] = field(default_factory=dict)
    """Histograms of the weights by the step at which they were measured: before the first one, after each task."""
    num_resumes: int = 0
    seconds: float = 0.0
    """Time during which events came in."""
    end: Event | None = None
    """The "run_finished" or "stopped" event that ended the log."""
    num_incomplete: int = 0
    """Events that lack a field of their kind."""
    other_events: list[Event] = field(default_factory=list)
    """Events of kinds that the report has no picture for."""

    @property
    def last_step(self) -> int:
        """Applied steps in all."""
        return max(self.steps, default=0)

    @property
    def run_start(self) -> Event:
        """The latest "run_started" event; empty if there was none."""
        return self.starts.get(-1, {})

    def tasks(self) -> list[TaskSpan]:
        """Return the tasks begun so far, in order."""
        order = sorted(self.task_first_steps)
        ends = [*(self.task_first_steps[task] for task in order[1:]), self.last_step]
        return [
            TaskSpan(task, self.starts[task]["name"], self.task_first_steps[task], end)
            for task, end in zip(order, ends, strict=False)
        ]

    def series(self, name: str) -> Series | None:
        """Return a number over all applied steps that have it, or None where none has.

        Args:
            name: a field of the step event; "terms/extension" and "penalties/extension" for what was added to the
                loss; "extension/number" for what an extension measured.
        """
        points = [(step, _number(self.steps[step], name)) for step in sorted(self.steps)]
        points = [(step, float(number)) for step, number in points if number is not None]
        points = [(step, number) for step, number in points if np.isfinite(number)]
        if not points:
            return None
        steps, values = zip(*points, strict=True)
        return Series(np.array(steps), np.array(values))

    def extension_numbers(self) -> list[str]:
        """Return the names of all numbers that extensions measured."""
        return sorted({name for event in self.steps.values() for name in event.get("numbers", {})})

    def added_losses(self) -> list[str]:
        """Return the names of all terms and penalties that extensions added to the loss."""
        steps = self.steps.values()
        return sorted({f"{group}/{name}" for event in steps for group in LOSS_GROUPS for name in event.get(group, {})})

    def total(self, name: str) -> float:
        """Return the sum of a number over all applied steps."""
        series = self.series(name)
        return 0.0 if series is None else float(series.values.sum())


def read_history(events: Iterable[Event]) -> RunHistory:
    """Return what a run's events say, in the order they were written."""
    history, going_back = RunHistory(), GoingBack()
    for event in _timed(events, history):
        step = going_back(event)
        if step == BEFORE_EVERYTHING:
            history.num_resumes = 0
        if step is not None:
            _take_back(history, step)
        task = event.get("task", 0)
        is_placed = not isinstance(task, int) or task >= 0
        if is_placed and all(name in event for name in NEEDED_FIELDS.get(event["event"], ())):
            _take_in(event, history)
        else:
            history.num_incomplete += 1
    return history


def _take_in(event: Event, history: RunHistory) -> None:
    kind = event["event"]
    if kind == "run_started":
        history.starts[-1] = event
    elif kind == "resumed":
        history.num_resumes += 1
    elif kind == "task_taken_back":
        history.task_first_steps.pop(event["task"], None)
        history.other_events.append(event)
    elif kind == "task_started":
        history.starts[event["task"]] = event
        history.task_first_steps.setdefault(event["task"], history.last_step)
    elif kind == "step" and event["state"] == "COMMITTED":
        history.steps[event["step"]] = event
    elif kind == "step" and event["state"] == "SKIPPED":
        history.skipped_steps.append(event["step"])
    elif kind == "weights_measured":
        history.weights[event["step"]] = event["weights"]
    elif kind in ("run_finished", "stopped"):
        history.end = event
    elif kind not in ROUTINE_KINDS:
        history.other_events.append(event)


def _timed(events: Iterable[Event], history: RunHistory) -> Iterator[Event]:
    """Pass the events on and add up the time between them; training after an end means that the run went on."""
    last_s: float | None = None
    for event in events:
        time_s = event.get("time_s")
        if isinstance(time_s, int | float):
            if last_s is not None and 0 < time_s - last_s < LONGEST_PAUSE_S:
                history.seconds += time_s - last_s
            last_s = time_s
        if event["event"] in SIGNS_OF_LIFE:
            history.end = None
        yield event


def _take_back(history: RunHistory, step: int) -> None:
    history.steps = {number: event for number, event in history.steps.items() if number <= step}
    history.task_first_steps = {task: first for task, first in history.task_first_steps.items() if first <= step}
    history.weights = {number: weights for number, weights in history.weights.items() if number <= step}
    history.skipped_steps = [number for number in history.skipped_steps if number <= step]


def _number(event: Event, name: str) -> Any:  # noqa: ANN401 -- a number, or the log's "nan" and "inf"
    group, _, rest = name.partition("/")
    if group in LOSS_GROUPS:
        return event.get(group, {}).get(rest)
    return event.get("numbers", {}).get(name) if rest else event.get(name)
