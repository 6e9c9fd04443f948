"""A probe that changes nothing: how often neurons fire and how much the gate listens to them, step by step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mambrane.engine.extensions import StepChange, StepView
from mambrane.engine.method import Method, Number

SHOWN = ("first_rate", "second_rate", "gate")
"""What is shown of a block, by the names of `BlockActivity`."""


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
        names = [*per_batch[0]] if per_batch else []
        weights = [float(len(batch.inputs_BT)) for batch in view.micro_batches]
        num_rows = sum(weights)
        # A row for each micro-batch: a few small operations for all numbers of the step.
        rows = [
            torch.stack(list(batch.values())).double() * weight
            for batch, weight in zip(per_batch, weights, strict=True)
            if names
        ]
        sums_N = torch.stack(rows).sum(0) if rows else torch.zeros(0, dtype=torch.float64)
        if view.ranks.size > 1:
            names, sums_N, num_rows = _over_ranks(view, names, sums_N, num_rows)
        if not names:
            return StepChange({})
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


def _over_ranks(
    view: StepView, names: list[str], sums_N: torch.Tensor, num_rows: float
) -> tuple[list[str], torch.Tensor, float]:
    """Return names, sums and rows over all ranks; one without a row in this step has no names of its own."""
    possible = [f"{name}_{index}" for index in range(len(view.model.blocks)) for name in SHOWN]
    places = [possible.index(name) for name in names]
    # nccl takes tensors on GPUs only, where the weights are.
    sums_P = torch.zeros(len(possible), dtype=torch.float64, device=next(view.model.parameters()).device)
    sums_P[places] = sums_N.to(sums_P.device)
    rows_P = torch.zeros(len(possible), dtype=torch.float64)
    rows_P[places] = num_rows
    view.ranks.sum_(sums_P, rows_P)
    seen = rows_P.nonzero().flatten().tolist()
    return [possible[place] for place in seen], sums_P[seen], float(rows_P.max())


def _numbers(activity: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401 -- a tuple of BlockActivity
    means: dict[str, torch.Tensor] = {}
    for index, block in enumerate(activity):
        seen = ((name, getattr(block, name)) for name in SHOWN)
        means |= {f"{name}_{index}": value.mean().float() for name, value in seen if value is not None}
    return means
