"""The learning rate in each task, as a pure function of applied steps.

    k = applied steps of the task before this one,  N = steps of the task,  W = warm-up steps,  D = steps of the fall
    m = min ratio,  rate = peak * r

    k < W           r = (k + 1) / W                                               in every schedule
    cosine          r = m + (1 - m) (1 + cos(pi p)) / 2,   p = min(1, (k + 1 - W) / (N - W))
    wsd             r = 1,  and in the last D steps  1 - (1 - m) p,  p = (k + 1 - (N - D)) / D
    infinite        r = c + (1 - c) (1 + cos(pi p)) / 2,   p = min(1, (k + 1 - W) / D),   c = (1 + m) / 2

The last step of a task runs at m peak (cosine, wsd). In an infinite schedule k and N are those of the first task that
has it: later tasks go on at the constant c, without a warm-up, as the rate never fell below it. A skipped or empty step
moves nothing.
Sources: cosine: Loshchilov and Hutter, SGDR, 2017, equation 5, with one cycle for each task; wsd: Hu et al., MiniCPM
(arXiv 2404.06395), with a linear fall; infinite: Ibrahim et al., Simple and Scalable Strategies to Continually
Pre-train Large Language Models (arXiv 2403.08763), whose constant lies halfway too; its last annealing is that of wsd.
"""

import math
from typing import Any

from mambrane.engine.config import EngineConfig


def learning_rate_ratio(
    applied_in_task: int,
    total_steps: int,
    *,
    warmup_ratio: float,
    min_ratio: float,
    kind: str = "cosine",
    decay_ratio: float = 0.2,
) -> float:
    """Return the learning rate of the next step of a task, over the peak."""
    warmup_steps = max(1, round(warmup_ratio * total_steps)) if warmup_ratio > 0 else 0
    if applied_in_task < warmup_steps:
        return (applied_in_task + 1) / warmup_steps
    decay_steps = max(1, round(decay_ratio * total_steps))
    after_warmup = applied_in_task + 1 - warmup_steps
    if kind == "wsd":
        progress = (applied_in_task + 1 - (total_steps - decay_steps)) / decay_steps
        return 1 - (1 - min_ratio) * min(1.0, max(0.0, progress))
    if kind == "infinite":
        return _along_cosine(after_warmup / decay_steps, (1 + min_ratio) / 2)
    return _along_cosine(after_warmup / max(1, total_steps - warmup_steps), min_ratio)


def _along_cosine(progress: float, end: float) -> float:
    return end + (1 - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


class Schedule:
    """Knows where the task began and how long it is; everything else is a function of the applied steps."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.total_steps = 0
        self.applied_before_task = 0
        self.kind = ""
        """Schedule of the task that began last."""
        self.task_steps = 0
        self.applied_at_begin = 0
        """Of the task that began last, whatever the rate does."""

    def begin_task(self, total_steps: int, applied: int) -> None:
        """Start a rise and fall over `total_steps` steps, after `applied` steps of the run; an infinite one goes on."""
        self.task_steps, self.applied_at_begin = total_steps, applied
        goes_on = self.kind == self.config.schedule == "infinite"
        self.kind = self.config.schedule
        if goes_on:
            return
        self.total_steps = total_steps
        self.applied_before_task = applied

    def learning_rate(self, applied: int) -> float:
        """Return the learning rate of the step that follows `applied` steps of the run."""
        ratio = learning_rate_ratio(
            applied - self.applied_before_task,
            self.total_steps,
            warmup_ratio=self.config.warmup_ratio,
            min_ratio=self.config.min_learning_rate_ratio,
            kind=self.config.schedule,
            decay_ratio=self.config.decay_ratio,
        )
        return self.config.learning_rate * ratio

    def task_progress(self, applied: int) -> float:
        """Return the part of the task's steps that is done after `applied` steps of the run, 0 to 1."""
        return min(1.0, (applied - self.applied_at_begin) / max(1, self.task_steps))

    def state_dict(self) -> dict[str, Any]:
        """Return where the task began, how long it is, and its schedule."""
        return {
            "total_steps": self.total_steps,
            "applied_before_task": self.applied_before_task,
            "kind": self.kind,
            "task_steps": self.task_steps,
            "applied_at_begin": self.applied_at_begin,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the task's beginning and length back."""
        self.total_steps = int(state["total_steps"])
        self.applied_before_task = int(state["applied_before_task"])
        # Versions that did not save it had the one.
        self.kind = str(state.get("kind", "cosine"))
        self.task_steps = int(state.get("task_steps", self.total_steps))
        self.applied_at_begin = int(state.get("applied_at_begin", self.applied_before_task))
