"""What an engine is asked to do, and what is noted while it does so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.engine_peers.deaths import DiskCalls

STOPPED, KILLED = 40, 41
"""Exit statuses of a process that ended itself after a save, and in the middle of one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One command: train, and go on from the newest checkpoint if `folder` has one."""

    way: str = ""
    """Which way of using the engine; "" is the one that its documentation shows first."""
    micro_batches: int = 8
    """Micro-batches in an epoch."""
    accumulation: int = 4
    """Micro-batches in a step."""
    epochs: int = 1
    ragged: bool = False
    """Micro-batches differ in how many targets count."""
    poisoned: int | None = None
    """The micro-batch whose loss is infinite."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    falling_rate: bool = False
    """The learning rate falls with each step."""
    exact: bool = True
    """Weights in float64, so that a right result differs from the oracle by rounding only."""
    half: bool = False
    """fp16 with a loss scale."""
    clip: float = 0.0
    """Largest gradient norm; 0 turns clipping off."""
    dropout: float = 0.0
    shuffle: bool = False
    folder: str | None = None
    """Where checkpoints go; none are written without it."""
    save_every: int = 1
    """Steps between two checkpoints."""
    stop_after: int | None = None
    """The process ends by itself once the checkpoint of this step is written."""
    die_in: int | None = None
    """The step whose checkpoint is watched, call by call."""
    die_at: int | None = None
    """The call at which the process ends; None watches to the end."""
    temporary_folder: str | None = None
    """Where the system keeps temporary files; its usual place if None."""
    torn: bool = False
    """That call leaves half of what it should have written."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps, the short last one included."""
        return -(-self.micro_batches // self.accumulation)


@dataclass(kw_only=True, slots=True)
class Notes:
    """What happened, for the judge. The adapters write into it; a process that dies leaves none."""

    job: Job
    steps: int = 0
    """Times the optimizer itself was stepped."""
    rates: list[float] = field(default_factory=list)
    """Learning rate of each step that reached its end, taken or not."""
    resumed_from: int = 0
    """Steps in the checkpoint that the run went on from."""
    has_scaler: bool = False
    error: str = ""
    """The exception that ended the run."""
    calls: list[str] = field(default_factory=list)
    """Calls that changed the disk during the watched save."""
    model: Any = None
    """The toy itself, for its last weights; never written down."""

    def watch(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Follow the toy's weights, and count the steps of a torch optimizer, whoever takes them."""

        def count(*_: object) -> None:
            self.steps += 1

        self.model = model
        optimizer.register_step_post_hook(count)

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the learning rate of a step whose gradients are complete."""
        self.rates.append(optimizer.param_groups[0]["lr"])

    @contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Surround the save of a step: watch its calls if asked to, and stop after it if asked to."""
        if step == self.job.die_in:
            with DiskCalls(self.job.die_at, torn=self.job.torn, status=KILLED) as calls:
                yield
            self.calls = calls.names
        else:
            yield
        if step == self.job.stop_after:
            os._exit(STOPPED)

    def as_json(self) -> dict[str, Any]:
        """Return what happened, with the weights as they are now."""
        weights = {} if self.model is None else dict(self.model.named_parameters())
        return {
            "steps": self.steps,
            "rates": self.rates,
            "resumed_from": self.resumed_from,
            "has_scaler": self.has_scaler,
            "computed_in": "" if self.model is None else self.model.computed_in,
            "error": self.error,
            "calls": self.calls,
            "weights": {name: weight.detach().tolist() for name, weight in weights.items()},
        }


def newest(folder: str | None, pattern: str) -> Path | None:
    """Return the file or folder whose name ends in the highest number: what a user's script would resume from."""
    found = [] if folder is None else sorted(Path(folder).glob(pattern), key=number_in)
    return found[-1] if found else None


def number_in(path: Path) -> int:
    """Return the number at the end of a name such as step_12 or step_12.ckpt."""
    return int(path.name.partition(".")[0].rpartition("_")[2])
