"""Language modelling: sequences of text, cross entropy of the next token, bits per byte."""

import math

import torch
from torch import nn

from mambrane.continual.measure import BITS_PER_BYTE
from mambrane.continual.stream import Task
from mambrane.data.batch import MicroBatch
from mambrane.data.config import DataConfig
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.engine.objective import Objective, fused_next_token_objective
from mambrane.measure.metrics import HeldoutLoss, heldout_loss


class Kind:
    """Predicts the next token."""

    measure = BITS_PER_BYTE
    is_text = True

    def __init__(self, data: DataConfig, *, seed: int, device: torch.device) -> None:
        self._data = data
        self._seed = seed
        self._device = device

    def make_loader(self, task: Task) -> SequenceLoader:
        """Return the text of a task, from its beginning."""
        return SequenceLoader(
            task.train,
            sequence_length=self._data.sequence_length,
            batch_size=self._data.batch_size,
            seed=self._seed,
            name=task.order_name,
            epoch_tokens=task.epoch_tokens(self._data.epoch_tokens),
        )

    def objective(self, model: nn.Module, batch: MicroBatch) -> Objective:
        """Return the summed cross entropy of the next token, in nats."""
        return fused_next_token_objective(model, batch)

    def training_numbers(self, loss: float, task: Task) -> dict[str, float]:
        """Return bits per byte by the tokens per byte of the task's text; replayed text may have others."""
        tokens_per_byte = sum(file.num_tokens for file in task.train) / sum(file.num_bytes for file in task.train)
        return {BITS_PER_BYTE.name: loss * tokens_per_byte / math.log(2)}

    def evaluate(self, model: nn.Module, domain: Domain) -> HeldoutLoss:
        """Return the loss on every token of the domain's held-out text."""
        return heldout_loss(
            model,
            domain.heldout,
            sequence_length=self._data.sequence_length,
            batch_size=self._data.batch_size,
            device=self._device,
        )
