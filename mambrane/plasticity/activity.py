"""A probe that changes nothing: how often neurons fire and how much the gate listens to them, step by step."""

from collections.abc import Callable
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
    across_ranks = True
    across_shards = True
    numbers = (Number("firing_rate", "firing rate, spikes per neuron and tick", "firing {}"),)

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return True: every run is watched."""
        return True

    @classmethod
    def label_in(cls, config: Any) -> str:  # noqa: ANN401 -- a run's configuration
        """Return nothing: no run is without it."""
        return ""

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "ActivityProbe":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls()

    def after_step(self, view: StepView) -> StepChange:
        """Show the step's rates and gate shares, each the mean over its rows of text."""
        per_batch = [_numbers(activity) for activity in view.activities]
        # A rank without a row in this step has no names of its own.
        names = next(filter(None, view.ranks.gather([*per_batch[0]] if per_batch else [])), [])
        if not names:
            return StepChange({})
        weights = [float(len(batch.inputs_BT)) for batch in view.micro_batches]
        # A rank without a row has no activity, and nccl takes tensors on GPUs only.
        seen = (value.device for batch in per_batch for value in batch.values())
        device = next(seen, None) or next(view.model.parameters()).device
        # A row for each micro-batch: a few small operations for all numbers of the step.
        rows = [
            torch.stack(list(batch.values())).double() * weight
            for batch, weight in zip(per_batch, weights, strict=True)
        ]
        sums_N = torch.stack(rows).sum(0) if rows else torch.zeros(len(names), dtype=torch.float64, device=device)
        num_rows = torch.full((), sum(weights), dtype=torch.float64, device=device)
        view.ranks.sum_(sums_N, num_rows)
        means_N = sums_N / num_rows
        rates = [mean for name, mean in zip(names, means_N, strict=True) if "rate" in name]
        overall = {"firing_rate": torch.stack(rates).mean()} if rates else {}
        return StepChange(overall | dict(zip(names, means_N, strict=True)))

    def revocation_point(self) -> Callable[[], None]:
        """Return what has nothing to take back."""
        return lambda: None

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a probe remembers nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing back."""


def _numbers(activity: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401 -- a tuple of BlockActivity
    means: dict[str, torch.Tensor] = {}
    for index, block in enumerate(activity):
        seen = {"first_rate": block.first_rate, "second_rate": block.second_rate, "gate": block.gate}
        means |= {f"{name}_{index}": value.mean().float() for name, value in seen.items() if value is not None}
    return means
