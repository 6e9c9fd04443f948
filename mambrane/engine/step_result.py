"""What became of a training step."""

from dataclasses import dataclass, field
from typing import Any

from mambrane.engine.accumulation import StepSums
from mambrane.engine.transaction import StepState


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What became of a step."""

    state: StepState
    """COMMITTED, SKIPPED, EMPTY or ABORTED."""
    num_micro_batches: int
    num_samples: int
    num_targets: int
    """Counted targets; like the two numbers above, over all ranks."""
    learning_rate: float
    """Learning rate of the step, if it was applied."""
    scale: float
    """Loss scale with which the step ran."""
    loss: float | None = None
    """Main loss in nats per target, without any term or penalty. None when nothing was run."""
    terms: dict[str, float] = field(default_factory=dict)
    """Each loss term in nats per target, by extension."""
    penalties: dict[str, float] = field(default_factory=dict)
    """Each penalty, by extension."""
    gradient_norm: float | None = None
    """Norm of the whole gradient before clipping."""
    numbers: dict[str, float] = field(default_factory=dict)
    """What the after-step extensions returned, as "extension/number"."""
    reason: str = ""
    """Why the step did not change the weights."""

    @classmethod
    def of(
        cls,
        sums: StepSums,
        losses: dict[str, float],
        *,
        state: StepState,
        reason: str = "",
        **known: Any,  # noqa: ANN401 -- fields
    ) -> "StepResult":
        """Return what became of a step, from its sums and its mean losses."""
        return cls(
            state=state,
            reason=reason,
            num_micro_batches=sums.num_micro_batches,
            num_samples=sums.num_samples,
            num_targets=sums.num_targets,
            loss=losses.get("loss"),
            terms={name: loss for name, loss in losses.items() if name != "loss"},
            **known,
        )
