"""How weights are updated and kept. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mambrane.core.bounds import Bounds, Count, Decay, Rate, Ratio, Strength, check_settings
from mambrane.core.errors import UserError
from mambrane.core.needs import Needs

_NOT_COSINE = Needs("--schedule wsd or infinite", lambda run: run.engine.schedule != "cosine")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """The training loop: steps of micro-batches, optimizer, schedule, precision, checkpoints."""

    accumulation_steps: Count = 4
    """Micro-batches in an optimizer step; the last step of an epoch may have fewer."""
    learning_rate: Annotated[float, Bounds(0, 1000, "least")] = 1e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "wsd", "infinite"] = "cosine"
    """How the learning rate falls in a task: along a cosine to its end; at its end only (warm-up, stable, decay); or
    once, to a constant that later tasks go on with (infinite, for a stream without a known end)."""
    warmup_ratio: Decay = 0.05
    """Part of a task's steps over which the learning rate rises."""
    decay_ratio: Annotated[float, Bounds(0, 1, "least"), _NOT_COSINE] = 0.2
    """Part of the steps over which the learning rate falls: the last of a task (wsd), or those behind the first task's
    warm-up (infinite)."""
    min_learning_rate_ratio: Ratio = 0.1
    """Learning rate at the end of a task, over the peak; of infinite, the constant lies halfway between it and 1."""
    patience: Annotated[int, Bounds(0, 1_000_000, meaning_of_0="off")] = 0
    """End a task when so many epochs in a row were no better on its held-out text, with the best weights that it had; 0
    learns every epoch."""
    weight_decay: Rate = 0.1
    """Decoupled weight decay of matrices; vectors, A_log, D and embeddings have none."""
    adam_beta1: Decay = 0.9
    """Decay of the first moment."""
    adam_beta2: Decay = 0.99
    """Decay of the second moment."""
    gradient_clip: Strength = 1.0
    """Largest gradient norm; 0 turns clipping off."""
    ema_decay: Decay = 0.0
    """Decay of the exponential moving average (EMA) of the weights, for each applied step; 0 keeps none."""
    mixed_precision: bool = True
    """Compute in bf16 or fp16 where the device is faster for it; --precision overrules."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU that has it, else fp16 on a GPU; fp32 on a CPU. tf32: fp32 with a GPU's TF32 products."""
    checkpoint_activations: bool = False
    """Keep only what enters each block and run the block again in the backward pass: less memory, the same bits."""
    compile: bool = False
    """Compile the blocks with torch's compiler; the first steps wait for it, and the last bits are its own."""
    shard: bool = False
    """Of several processes (torchrun) each holds a piece of weights, gradients and moments in place of all of them."""
    tail_policy: Literal["step", "drop", "carry"] = "step"
    """A last step with fewer micro-batches: step with it, drop it, or carry it into the next epoch of the task."""
    max_consecutive_skips: Count = 25
    """Steps in a row with a non-finite gradient after which the run ends with the parameter's name."""
    save_every: Count = 200
    """Applied steps between checkpoints; one is also written after each task and at the end."""
    keep_checkpoints: Annotated[int, Bounds(2, 1_000_000)] = 3
    """Checkpoints kept; never fewer than 2."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.shard and (self.compile or self.patience):
            other = "--compile" if self.compile else f"--patience {self.patience}"
            raise UserError(
                f"--shard with {other}: that takes each process to hold the whole weights",
                wanted="one of the two",
                way_out="leave one of the two flags out",
            )
        if not self.mixed_precision and self.precision in ("bf16", "fp16"):
            raise UserError(
                f"--no-mixed-precision with --precision {self.precision}",
                wanted="one of the two",
                way_out="leave one of the two flags out",
            )
