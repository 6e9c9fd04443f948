"""Loss spikes: steps whose loss stands far above what is usual by now.

    d = loss - mean        spike if d > 6 sqrt(variance)        mean += a d        variance = (1 - a) (variance + a d^2)

a = 0.05, so "usual" is about the last twenty steps of the task; the first twenty only teach what is usual.
Source: the update is the exponentially weighted one of West, Updating mean and variance estimates, CACM 22(9), 1979.
"""

import math
from typing import Any

RATE = 0.05
"""Weight a of the newest step."""
FIRST_JUDGED = 20
"""Steps of a task before the first one that is judged."""
DEVIATIONS = 6.0
"""Standard deviations above the mean that make a spike."""


class LossWatch:
    """Knows what loss is usual, and which step is not."""

    def __init__(self) -> None:
        self.begin_task()

    def begin_task(self) -> None:
        """Forget what was usual: new text has another loss."""
        self.num_seen = 0
        self.mean = 0.0
        self.variance = 0.0

    def is_spike(self, loss: float) -> bool:
        """Take in the loss of an applied step, in nats per target, and judge it by those before it."""
        difference = loss - self.mean
        spike = self.num_seen >= FIRST_JUDGED and difference > DEVIATIONS * math.sqrt(self.variance)
        rate = max(RATE, 1 / (self.num_seen + 1))
        self.mean += rate * difference
        self.variance = (1 - rate) * (self.variance + rate * difference**2)
        self.num_seen += 1
        return spike

    def state_dict(self) -> dict[str, Any]:
        """Return what is usual."""
        return {"num_seen": self.num_seen, "mean": self.mean, "variance": self.variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what is usual."""
        self.num_seen, self.mean, self.variance = int(state["num_seen"]), state["mean"], state["variance"]
