"""What a kind of task decides. The engine, the matrix, the tables and the report work with any."""

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from mambrane.continual.measure import Measure, Measurement
from mambrane.continual.stream import Task
from mambrane.data.batch import MicroBatch
from mambrane.data.config import DataConfig
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.engine.objective import Objective


@runtime_checkable
class TaskKind(Protocol):
    """Batches, objective and measure."""

    measure: Measure
    """What the forgetting matrix holds."""
    is_text: bool
    """Whether what the model writes can be read, so that a run ends with samples of it."""

    def __init__(self, data: DataConfig, *, seed: int, device: torch.device) -> None: ...

    def make_loader(self, task: Task) -> SequenceLoader:
        """Return the batches of a task, from their beginning."""
        ...

    def objective(self, model: nn.Module, batch: MicroBatch) -> Objective:
        """Return the loss of a micro-batch in nats, summed over its targets."""
        ...

    def training_numbers(self, loss: float, task: Task) -> dict[str, float]:
        """Return by name what else a training loss in nats per target says; shown and drawn beside it."""
        ...

    def evaluate(self, model: nn.Module, domain: Domain) -> Measurement:
        """Return the measure on what is held out of a domain; draws nothing at random."""
        ...
