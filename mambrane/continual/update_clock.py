"""Time told by how far the weights move, so that replay keeps pace with what could be forgotten.

    u = |w after an applied step - w after the one before|        over all weights
    pace = u / mean of u over the applied steps so far;  1 before there are two

Replay with `--replay-timing updates` is due by `pace` times as many rows after a step that moved the weights far as
after an average one. In all it replays --replay-fraction where later tasks move the weights as far as the first one
did, and less where they move them less: the number `replay/fraction` shows it, and runs are to be compared by it.

Source of the idea, that replay follows the size of updates and not the number of steps: Feng et al., FOREVER (arXiv
2601.03938), whose schedule also lengthens intervals along a forgetting curve and weighs a penalty by it: not here.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.shards import whole


class UpdateClock:
    """The size of each update beside the mean of those before."""

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}
        """Weights after the last applied step."""
        self.last = 0.0
        self.total = 0.0
        self.count = 0
        """Updates measured."""

    @property
    def pace(self) -> float:
        """How large the last update was beside the mean."""
        return self.last * self.count / self.total if self.count > 1 and self.total > 0 else 1.0

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
