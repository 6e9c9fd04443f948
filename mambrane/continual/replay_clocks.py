"""What tells the time by which replay is due: steps, how much of a task is done, or how far the weights move.

    steps       pace = 1
    late        pace = 1 - cos(pi p)          p, from 0 to 1, the part of the task's steps that is applied
    updates     pace = u / mean of u over the applied steps so far;  1 before there are two
                u = |w after an applied step - w after the one before|        over all weights, each time behind the
                optimizer and before what STDP or Reptile changes in that step, which counts in the next one

Rows are due by `pace` times as many as on average (`--replay-timing`). With `late` none are due when a task begins,
so that the new is learned while the learning rate is high, and twice as many when it ends, so that the weights settle
on a mixture of all tasks; the mean over a task is 1. With `updates` replay keeps pace with what could be forgotten:
in all it replays --replay-fraction where later tasks move the weights as far as the first one did, and less where
they move them less; the number `replay/fraction` shows it, and runs are to be compared by it.

Sources of the ideas: late, in two phases in place of a ramp: Castro et al., End-to-End Incremental Learning (arXiv
1807.09536); updates: Feng et al., FOREVER (arXiv 2601.03938), whose schedule also lengthens intervals along a
forgetting curve and weighs a penalty by it: not here.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.extensions import StepView
from mambrane.engine.shards import whole


class StepClock:
    """Each step counts alike."""

    pace = 1.0

    def after_step(self, view: StepView) -> None:
        """Note nothing."""

    def begin_task(self) -> None:
        """Note nothing."""

    def forget_weights(self) -> None:
        """Forget nothing: it knows no weights."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing back."""


class TaskClock:
    """The part of the task that is done."""

    def __init__(self) -> None:
        self.progress = 0.0

    @property
    def pace(self) -> float:
        """How fast time goes beside steps."""
        return 1 - math.cos(math.pi * self.progress)

    def after_step(self, view: StepView) -> None:
        """Note how far the task is."""
        self.progress = view.task_progress

    def begin_task(self) -> None:
        """Start anew."""
        self.progress = 0.0

    def forget_weights(self) -> None:
        """Forget nothing: it knows no weights."""

    def state_dict(self) -> dict[str, Any]:
        """Return the progress."""
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.progress = state["progress"]


class UpdateClock:
    """The size of each update beside the mean of those before."""

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}
        """Weights behind the optimizer's last update."""
        self.last = 0.0
        self.total = 0.0
        self.count = 0
        """Updates measured."""

    @property
    def pace(self) -> float:
        """How large the last update was beside the mean."""
        return self.last * self.count / self.total if self.count > 1 and self.total > 0 else 1.0

    def after_step(self, view: StepView) -> None:
        """Measure the update."""
        self.tick(view.model)

    def begin_task(self) -> None:
        """Go on: weights are where they were."""

    def forget_weights(self) -> None:
        """Measure from the next applied step on: a way that no step of this run has gone is no update."""
        self.before = {}

    @torch.no_grad()
    def tick(self, model: nn.Module) -> None:
        """Measure how far the weights have come since the last call; waits for a GPU."""
        now = {name: whole(weight.detach()).clone() for name, weight in model.named_parameters()}
        if self.before.keys() == now.keys():
            # What a checkpoint brought back lies on the CPU.
            before = [self.before[name].to(weight.device) for name, weight in now.items()]
            moved = torch._foreach_sub(list(now.values()), before)
            self.last = float(torch.nn.utils.get_total_norm(moved))
            self.total += self.last
            self.count += 1
        self.before = now

    def state_dict(self) -> dict[str, Any]:
        """Return weights and sums."""
        return {"before": dict(self.before), "last": self.last, "total": self.total, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.before = {name: weight.clone() for name, weight in state["before"].items()}
        self.last, self.total, self.count = state["last"], state["total"], state["count"]


CLOCKS: dict[str, type[StepClock] | type[TaskClock] | type[UpdateClock]] = {
    "steps": StepClock,
    "late": TaskClock,
    "updates": UpdateClock,
}
"""By the value of `--replay-timing`."""
