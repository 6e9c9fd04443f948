"""Tasks one after another, and what keeps the earlier ones.

Free of torch, so that the command line can read it at once.
"""

from dataclasses import dataclass
from typing import Literal

from mambrane.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualConfig:
    """Continual learning: the stream of tasks, replay, consolidation."""

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

    def __post_init__(self) -> None:
        if self.num_tasks < 1:
            raise UserError(f"--num-tasks {self.num_tasks}", wanted="at least 1", way_out="--num-tasks 5")
        if self.use_replay and not self.continual_learning:
            raise UserError(
                "--use-replay without --continual-learning: there are no earlier tasks",
                wanted="a sequence of tasks",
                way_out="add --continual-learning, or leave --use-replay out",
            )
        if self.consolidation_strength and not self.continual_learning:
            raise UserError(
                "--consolidation-strength without --continual-learning: there are no earlier tasks",
                wanted="a sequence of tasks",
                way_out="add --continual-learning, or leave --consolidation-strength out",
            )
        if self.replay_buffer_size < 1:
            raise UserError(
                f"--replay-buffer-size {self.replay_buffer_size}",
                wanted="at least 1 window",
                way_out="--replay-buffer-size 512",
            )
        if not 0 <= self.replay_fraction < 1:
            raise UserError(
                f"--replay-fraction {self.replay_fraction}",
                wanted="0 or more, below 1",
                way_out="--replay-fraction 0.5",
            )
        if not 0 <= self.consolidation_decay <= 1:
            raise UserError(
                f"--consolidation-decay {self.consolidation_decay}",
                wanted="0 to 1",
                way_out="--consolidation-decay 0.9",
            )
        if self.fisher_sequences < 1:
            raise UserError(
                f"--fisher-sequences {self.fisher_sequences}",
                wanted="at least 1 window",
                way_out="--fisher-sequences 64",
            )
        if not self.consolidation_strength >= 0:
            raise UserError(
                f"--consolidation-strength {self.consolidation_strength}",
                wanted="0 or more",
                way_out="--consolidation-strength 0",
            )
