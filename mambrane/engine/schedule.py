"""The learning rate: a linear rise and a cosine fall in each task, as a pure function of applied steps.

    k = applied steps of the task before this one,  W = warm-up steps,  N = steps of the task
    k < W:   rate = peak (k + 1) / W
    else:    rate = peak (m + (1 - m) (1 + cos(pi p)) / 2),   p = min(1, (k + 1 - W) / (N - W)),   m = min ratio

The last step of a task runs at m peak. A skipped or empty step moves nothing.
Source: Loshchilov and Hutter, SGDR, 2017, equation 5, with one cycle for each task.
"""

import math
from typing import Any

from mambrane.engine.config import EngineConfig


def learning_rate_ratio(applied_in_task: int, total_steps: int, *, warmup_ratio: float, min_ratio: float) -> float:
    """Return the learning rate of the next step of a task, over the peak."""
    warmup_steps = max(1, round(warmup_ratio * total_steps)) if warmup_ratio > 0 else 0
    if applied_in_task < warmup_steps:
        return (applied_in_task + 1) / warmup_steps
    progress = min(1.0, (applied_in_task + 1 - warmup_steps) / max(1, total_steps - warmup_steps))
    return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2


class Schedule:
    """Knows where the task began and how long it is; everything else is a function of the applied steps."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.total_steps = 0
        self.applied_before_task = 0

    def begin_task(self, total_steps: int, applied: int) -> None:
        """Start a rise and fall over `total_steps` steps, after `applied` steps of the run."""
        self.total_steps = total_steps
        self.applied_before_task = applied

    def learning_rate(self, applied: int) -> float:
        """Return the learning rate of the step that follows `applied` steps of the run."""
        ratio = learning_rate_ratio(
            applied - self.applied_before_task,
            self.total_steps,
            warmup_ratio=self.config.warmup_ratio,
            min_ratio=self.config.min_learning_rate_ratio,
        )
        return self.config.learning_rate * ratio

    def state_dict(self) -> dict[str, Any]:
        """Return where the task began and how long it is."""
        return {"total_steps": self.total_steps, "applied_before_task": self.applied_before_task}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the task's beginning and length back."""
        self.total_steps = int(state["total_steps"])
        self.applied_before_task = int(state["applied_before_task"])
