"""The cases with Mambrane, driven as docs/engine.md shows. One way only: the engine has no options for being right."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.engine_peers.jobs import Job, Notes
from benchmarks.engine_peers.toy import ROWS, TOKENS, ToyData, ToyModel, build_optimizer, summed_loss
from mambrane.core.events import EventLog
from mambrane.core.seeding import seed_global_generators
from mambrane.data.batch import MicroBatch
from mambrane.data.loader import SequenceLoader
from mambrane.data.tokens import TokenFile
from mambrane.engine.config import EngineConfig
from mambrane.engine.objective import Objective
from mambrane.engine.trainer import Trainer
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.checkpoint_files import Checkpoint

PACKAGES = ("mambrane",)


class RowLoader:
    """The rows in order, as micro-batches: a loader as the engine asks for, for data that is no token stream."""

    def __init__(self, data: ToyData) -> None:
        self._data = data
        self.epoch = self._committed = self._handed_out = 0

    def epoch_batches(self) -> Iterator[MicroBatch]:
        """Yield the rest of the epoch."""
        epoch = self.epoch
        while self.epoch == epoch and self._handed_out < len(self._data):
            first = self._handed_out
            self._handed_out = first + ROWS
            inputs_BT = self._data.inputs[first : first + ROWS]
            yield MicroBatch(inputs_BT, self._data.targets[first : first + ROWS], torch.zeros_like(inputs_BT).bool())

    def commit(self) -> None:
        """Count what was handed out as consumed."""
        self._committed = self._handed_out
        if self._committed == len(self._data):
            self.epoch += 1
            self._committed = self._handed_out = 0

    def rewind(self) -> None:
        """Forget what was handed out since the last commit."""
        self._handed_out = self._committed


def train(job: Job, notes: Notes) -> None:
    """Train as the job says."""
    seed_global_generators(0)
    model = ToyModel(job)
    optimizer = build_optimizer(model, job)
    notes.watch(model, optimizer)
    config = EngineConfig(
        accumulation_steps=job.accumulation,
        learning_rate=job.learning_rate,
        warmup_ratio=0.0,
        min_learning_rate_ratio=0.1 if job.falling_rate else 1.0,
        gradient_clip=job.clip,
        precision="fp16" if job.half else "fp32",
    )
    trainer = Trainer(
        model, config, device=torch.device("cpu"), events=EventLog(), objective=objective, optimizers=(optimizer,)
    )
    notes.has_scaler = trainer.precision.scale > 1
    loader = _loader(job)
    trainer.begin_task(job.epochs * job.steps_per_epoch)
    checkpoints = Checkpoints(Path(job.folder), keep=2, events=EventLog()) if job.folder else None
    checkpoint = checkpoints.load_newest() if checkpoints else None
    if checkpoint is not None:
        _restore(trainer, loader, checkpoint)
        notes.resumed_from = trainer.counters.closed
    while loader.epoch < job.epochs:
        for result in trainer.steps(loader):
            notes.rates.append(result.learning_rate)
            if checkpoints and trainer.counters.closed % job.save_every == 0:
                with notes.saving(trainer.counters.closed):
                    _save(checkpoints, trainer, loader)


def objective(model: nn.Module, batch: MicroBatch) -> Objective:
    """Return the toy's loss; the toy's output is bare logits, so the default objective does not fit it."""
    logits = model(batch.inputs_BT)
    return Objective(summed_loss(logits, {"input_ids": batch.inputs_BT, "labels": batch.targets_BT}), logits)


def _loader(job: Job) -> RowLoader | SequenceLoader:
    """Return the rows in order, or shuffled sequences over the same tokens as one stream."""
    data = ToyData(job)
    if not job.shuffle:
        return RowLoader(data)
    stream = TokenFile(
        tokens=data.inputs.flatten().numpy().astype(np.uint16),
        end_of_text=0,
        num_bytes=data.inputs.numel(),
        num_documents=1,
        content_hash="toy",
    )
    return SequenceLoader([stream], sequence_length=TOKENS, batch_size=ROWS, seed=0, name="toy")


def _save(checkpoints: Checkpoints, trainer: Trainer, loader: SequenceLoader) -> None:
    state = trainer.state_dict()
    weights: Mapping[str, Mapping[str, torch.Tensor]] = state.pop("weights")
    checkpoints.save(trainer.counters.closed, {"trainer": state, "loader": loader.state_dict()}, weights=weights)


def _restore(trainer: Trainer, loader: SequenceLoader, checkpoint: Checkpoint) -> None:
    trainer.load_state_dict({**checkpoint.parts["trainer"], "weights": checkpoint.weights})
    loader.load_state_dict(checkpoint.parts["loader"])
