"""Tasks one after another, and what keeps the earlier ones.

Free of torch, so that the command line can read it at once.
"""

from dataclasses import dataclass
from typing import Literal

from mambrane.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualConfig:
    """Continual learning: the stream of tasks, replay, consolidation, distillation."""

    continual_learning: bool = False
    """Learn the domains one after another as tasks; off: all domains mixed, as one task."""
    num_tasks: int = 5
    """Tasks (with --continual-learning): the first domains of --data, in order."""
    use_replay: bool = False
    """Mix remembered windows of earlier tasks into each micro-batch."""
    replay_buffer_size: int = 512
    """Windows of text kept in memory, over all tasks."""
    replay_strategy: Literal["balanced", "uniform", "importance"] = "balanced"
    """Draw alike from every earlier task, alike from every window, or by the loss a window last had."""
    replay_fraction: float = 0.5
    """Part of the windows that is replayed once there are earlier tasks; it replaces new text, so tokens stay equal."""
    consolidation_strength: float = 0.0
    """Strength of the springs that hold earlier weights, with a mean stiffness of 1; 0 is off."""
    consolidation_method: Literal["ewc", "mas", "si"] = "ewc"
    """Stiffness by Fisher information, by sensitivity of the output, or by the path of the loss."""
    consolidation_decay: float = 0.9
    """Part of the earlier tasks' stiffness kept at each task."""
    fisher_sequences: int = 64
    """Held-in windows from which ewc and mas estimate what a task leans on."""
    distillation_strength: float = 0.0
    """Weight of the divergence from the model as the last task left it, beside the loss; 0 is off."""
    distillation_temperature: float = 2.0
    """Logits are divided by it before the two models are compared; above 1, unlikely tokens count more."""

    def __post_init__(self) -> None:
        for name, is_on in (
            ("use-replay", self.use_replay),
            ("consolidation-strength", self.consolidation_strength),
            ("distillation-strength", self.distillation_strength),
        ):
            if is_on and not self.continual_learning:
                raise UserError(
                    f"--{name} without --continual-learning: there are no earlier tasks",
                    wanted="a sequence of tasks",
                    way_out=f"add --continual-learning, or leave --{name} out",
                )
        for name, wanted, right_value, is_right in (
            ("num_tasks", "at least 1", 5, self.num_tasks >= 1),
            ("replay_buffer_size", "at least 1 window", 512, self.replay_buffer_size >= 1),
            ("replay_fraction", "0 or more, below 1", 0.5, 0 <= self.replay_fraction < 1),
            ("consolidation_strength", "0 or more", 0, self.consolidation_strength >= 0),
            ("consolidation_decay", "0 to 1", 0.9, 0 <= self.consolidation_decay <= 1),
            ("fisher_sequences", "at least 1 window", 64, self.fisher_sequences >= 1),
            ("distillation_strength", "0 or more", 0, self.distillation_strength >= 0),
            ("distillation_temperature", "above 0", 2, self.distillation_temperature > 0),
        ):
            if not is_right:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag} {getattr(self, name)}", wanted=wanted, way_out=f"{flag} {right_value}")
