"""Where a run stands, worked out from its events alone: the task, the window, the rhythm, the time left."""

from collections import deque

from mambrane.core.events import Event

SMOOTHED_WINDOWS = 20
"""Loss and speed are shown as means over this many applied windows of a task."""


class RunProgress:
    """The latest numbers of a run. Feed it every event; it never looks at the clock."""

    def __init__(self) -> None:
        self.num_tasks = 1
        self.total_windows: int | None = None
        """Windows of the whole run; None in logs that do not say."""
        self.task = 0
        self.task_name = ""
        self.num_epochs = 1
        self.num_windows = 0
        """Windows of the task now running, over all its epochs."""
        self.windows_before: int | None = None
        """Windows of the tasks before this one."""
        self.window = 0
        """Windows of this task closed so far, skipped ones included."""
        self.num_skipped = 0
        self.shown_numbers: list[Event] = []
        """What the run says of the numbers of its methods: name, title, headline."""
        self.latest: Event = {}
        """The latest window event."""
        self._recent: deque[Event] = deque(maxlen=SMOOTHED_WINDOWS)

    def __call__(self, event: Event) -> None:
        """Take one event in; kinds that say nothing about progress are passed over."""
        if event["event"] == "run_started":
            self.num_tasks = event.get("num_tasks", 1)
            self.total_windows = event.get("total_windows")
            self.shown_numbers = event.get("shown_numbers", [])
        elif event["event"] == "task_started":
            self._start_task(event)
        elif event["event"] == "window":
            self._close_window(event)

    def mean(self, field: str) -> float | None:
        """Return the mean of a number over the last applied windows that have it; None where none has."""
        numbers = [float(event[field]) for event in self._recent if event.get(field) is not None]
        return sum(numbers) / len(numbers) if numbers else None

    def mean_number(self, name: str) -> float | None:
        """Return the mean of a method's number, such as "replay/fraction", over the last applied windows."""
        numbers = [float(event["numbers"][name]) for event in self._recent if name in event.get("numbers", {})]
        return sum(numbers) / len(numbers) if numbers else None

    @property
    def done_ratio(self) -> float:
        """Part of the task's windows that are closed."""
        return self.window / self.num_windows if self.num_windows else 0.0

    @property
    def seconds_per_window(self) -> float | None:
        """Mean time that the last applied windows took; None before the first."""
        seconds = [window["tokens"] / window["tokens_per_s"] for window in self._recent]
        return sum(seconds) / len(seconds) if seconds else None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens of the last applied windows over the time they took; None before the first."""
        seconds = self.seconds_per_window
        return self.mean("tokens") / seconds if seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Training time left in the run, evaluations aside, at the speed of the last windows."""
        seconds = self.seconds_per_window
        return max(self.windows_left, 0) * seconds if seconds else None

    @property
    def windows_left(self) -> int:
        """Windows that the run still has; where its log does not say, later tasks are taken to be as long as this."""
        if self.total_windows is None or self.windows_before is None:
            return self.num_windows * (self.num_tasks - self.task) - self.window
        return self.total_windows - self.windows_before - self.window

    def _start_task(self, event: Event) -> None:
        self.task, self.task_name = event["task"], event["name"]
        self.num_epochs, self.num_windows = event["epochs"], event["windows"]
        self.windows_before = event.get("windows_before")
        self._recent.clear()
        self.window = event.get("windows_done", 0)

    def _close_window(self, event: Event) -> None:
        self.latest = event
        self.window += 1
        if event["state"] == "COMMITTED":
            self._recent.append(event)
        elif event["state"] == "SKIPPED":
            self.num_skipped += 1
