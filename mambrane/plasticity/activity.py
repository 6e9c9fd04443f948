"""A probe that changes nothing: how often neurons fire and how much the gate listens to them, step by step."""

from typing import Any

import torch
from torch import nn

from mambrane.engine.extensions import StepChange, StepView
from mambrane.engine.method import Method, Number


class ActivityProbe(Method):
    """After-step extension that shows firing rates and gate shares.

    Numbers: `firing_rate` (spikes per neuron and tick, all populations), and for each block b that has them
    `first_rate_b`, `second_rate_b` (not for liquid cells) and `gate_b` (gate of the spikes beside Mamba).
    """

    name = "activity"
    numbers = (Number("firing_rate", "firing rate, spikes per neuron and tick", "firing {}"),)

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return True: every run is watched."""
        return True

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "ActivityProbe":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls()

    def after_step(self, view: StepView) -> StepChange:
        """Show the step's rates and gate shares, each the mean over its micro-batches."""
        per_batch = [_numbers(activity) for activity in view.activities]
        numbers = {name: sum(batch[name] for batch in per_batch) / len(per_batch) for name in per_batch[0]}
        rates = [value for name, value in numbers.items() if "rate" in name]
        return StepChange({"firing_rate": sum(rates) / len(rates), **numbers} if rates else numbers)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a probe remembers nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing back."""


def _numbers(activity: Any) -> dict[str, float]:  # noqa: ANN401 -- a tuple of BlockActivity
    means: dict[str, torch.Tensor] = {}
    for index, block in enumerate(activity):
        seen = {"first_rate": block.first_rate, "second_rate": block.second_rate, "gate": block.gate}
        means |= {f"{name}_{index}": value.mean() for name, value in seen.items() if value is not None}
    if not means:
        return {}
    # One transfer from the device for all numbers.
    values = torch.stack([value.detach().float() for value in means.values()]).tolist()
    return dict(zip(means, values, strict=True))
