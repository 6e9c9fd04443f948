"""How weights are updated and kept. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass
from typing import Literal

from mambrane.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """The training loop: windows of micro-batches, optimizer, schedule, precision, checkpoints."""

    accumulation_steps: int = 4
    """Micro-batches in a window; one optimizer step follows each window, the short last one included."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    warmup_ratio: float = 0.05
    """Part of a task's windows over which the learning rate rises."""
    min_learning_rate_ratio: float = 0.1
    """Learning rate at the end of a task, over the peak."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices; vectors, A_log, D and embeddings have none."""
    adam_beta1: float = 0.9
    """Decay of the first moment."""
    adam_beta2: float = 0.99
    """Decay of the second moment."""
    gradient_clip: float = 1.0
    """Largest gradient norm; 0 turns clipping off."""
    ema_decay: float = 0.0
    """Decay of the averaged weights, for each applied window; 0 keeps no average."""
    mixed_precision: bool = True
    """Compute in bf16 or fp16 where the device is faster for it; --precision overrules."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU that has it, else fp16 on a GPU; fp32 on a CPU."""
    tail_policy: Literal["step", "drop", "carry"] = "step"
    """A last window with fewer micro-batches: step with it, drop it, or carry it into the next epoch of the task."""
    max_consecutive_skips: int = 25
    """Windows in a row with a non-finite gradient after which the run ends with the parameter's name."""
    save_every: int = 200
    """Applied windows between checkpoints; one is also written after each task and at the end."""
    keep_checkpoints: int = 3
    """Checkpoints kept; never fewer than 2."""

    def __post_init__(self) -> None:
        if self.accumulation_steps < 1:
            raise UserError(
                f"--accumulation-steps {self.accumulation_steps}", wanted="at least 1", way_out="--accumulation-steps 1"
            )
        if not self.learning_rate > 0:
            raise UserError(
                f"--learning-rate {self.learning_rate}", wanted="a positive number", way_out="--learning-rate 1e-3"
            )
        for name, value, wanted, is_right in (
            ("warmup-ratio", self.warmup_ratio, "0 or more, below 1", 0 <= self.warmup_ratio < 1),
            ("min-learning-rate-ratio", self.min_learning_rate_ratio, "0 to 1", 0 <= self.min_learning_rate_ratio <= 1),
            ("weight-decay", self.weight_decay, "0 or more", self.weight_decay >= 0),
            ("adam-beta1", self.adam_beta1, "0 or more, below 1", 0 <= self.adam_beta1 < 1),
            ("adam-beta2", self.adam_beta2, "0 or more, below 1", 0 <= self.adam_beta2 < 1),
            ("gradient-clip", self.gradient_clip, "0 (off) or a positive norm", self.gradient_clip >= 0),
            ("max-consecutive-skips", self.max_consecutive_skips, "at least 1", self.max_consecutive_skips >= 1),
        ):
            if not is_right:
                raise UserError(f"--{name} {value}", wanted=wanted, way_out="leave the flag out for the default")
        if self.save_every < 1:
            raise UserError(
                f"--save-every {self.save_every}", wanted="at least 1 applied window", way_out="--save-every 200"
            )
        if self.keep_checkpoints < 2:
            raise UserError(
                f"--keep-checkpoints {self.keep_checkpoints}",
                wanted="at least 2: the newest may be the damaged one",
                way_out="--keep-checkpoints 2",
            )
        if not self.mixed_precision and self.precision in ("bf16", "fp16"):
            raise UserError(
                f"--no-mixed-precision with --precision {self.precision}",
                wanted="one of the two",
                way_out="leave one of the two flags out",
            )
        if not 0 <= self.ema_decay < 1:
            raise UserError(
                f"--ema-decay {self.ema_decay}", wanted="0 (off) or a number below 1", way_out="--ema-decay 0.999"
            )
