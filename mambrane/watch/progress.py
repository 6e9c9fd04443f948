"""The progress of a run, from its events alone: the task, the step, the speed, the time left."""

from collections import deque

from mambrane.core.events import Event

SMOOTHED_STEPS = 20
"""Loss and speed are shown as means over this many applied steps of a task."""


class RunProgress:
    """The latest numbers of a run. Feed it every event; it never looks at the clock."""

    def __init__(self) -> None:
        self.num_tasks = 1
        self.total_steps: int | None = None
        """Steps of the whole run; None in logs that do not say."""
        self.task = 0
        self.task_name = ""
        self.num_epochs = 1
        self.num_steps = 0
        """Steps of the task now running, over all its epochs."""
        self.steps_before: int | None = None
        """Steps of the tasks before this one."""
        self.steps_closed = 0
        """Steps of this task closed so far, skipped ones included."""
        self.num_skipped = 0
        self.shown_numbers: list[Event] = []
        """What the run says of the numbers of its methods: name, title, headline."""
        self.latest: Event = {}
        """The latest step event."""
        self._recent: deque[Event] = deque(maxlen=SMOOTHED_STEPS)

    def __call__(self, event: Event) -> None:
        """Take one event in; kinds that say nothing about progress are passed over."""
        if event["event"] == "run_started":
            self.num_tasks = event.get("num_tasks", 1)
            self.total_steps = event.get("total_steps")
            self.shown_numbers = event.get("shown_numbers", [])
        elif event["event"] == "task_started":
            self._start_task(event)
        elif event["event"] == "step":
            self._close_step(event)

    def mean(self, field: str) -> float | None:
        """Return the mean of a number over the last applied steps that have it; None where none has."""
        numbers = [float(event[field]) for event in self._recent if event.get(field) is not None]
        return sum(numbers) / len(numbers) if numbers else None

    def mean_number(self, name: str) -> float | None:
        """Return the mean of a method's number, such as "replay/fraction", over the last applied steps."""
        numbers = [float(event["numbers"][name]) for event in self._recent if name in event.get("numbers", {})]
        return sum(numbers) / len(numbers) if numbers else None

    @property
    def done_ratio(self) -> float:
        """Part of the task's steps that are closed."""
        return self.steps_closed / self.num_steps if self.num_steps else 0.0

    @property
    def seconds_per_step(self) -> float | None:
        """Mean time that the last applied steps took; None before the first."""
        measured = self._measured()
        return sum(tokens / speed for tokens, speed in measured) / len(measured) if measured else None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens of the last applied steps over the time they took; None before the first."""
        measured = self._measured()
        seconds = sum(tokens / speed for tokens, speed in measured)
        return sum(tokens for tokens, _ in measured) / seconds if seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Training time left in the run, evaluations aside, at the speed of the last steps."""
        seconds = self.seconds_per_step
        return max(self.steps_left, 0) * seconds if seconds else None

    @property
    def steps_left(self) -> int:
        """Steps that the run still has; where its log does not say, later tasks are taken to be as long as this."""
        if self.total_steps is None or self.steps_before is None:
            return self.num_steps * (self.num_tasks - self.task) - self.steps_closed
        return self.total_steps - self.steps_before - self.steps_closed

    def _measured(self) -> list[tuple[int, float]]:
        """Return tokens and tokens per second of the last applied steps that say both."""
        found = [(event.get("tokens"), event.get("tokens_per_s")) for event in self._recent]
        return [(tokens, speed) for tokens, speed in found if tokens is not None and speed]

    def _start_task(self, event: Event) -> None:
        self.task, self.task_name = event["task"], event["name"]
        self.num_epochs, self.num_steps = event["epochs"], event["steps"]
        self.steps_before = event.get("steps_before")
        self._recent.clear()
        self.steps_closed = event.get("steps_done", 0)

    def _close_step(self, event: Event) -> None:
        self.latest = event
        self.steps_closed += 1
        if event["state"] == "COMMITTED":
            self._recent.append(event)
        elif event["state"] == "SKIPPED":
            self.num_skipped += 1
