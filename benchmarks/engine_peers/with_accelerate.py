"""The cases with Accelerate.

    ""          `with accelerator.accumulate(model)`, the loss of a micro-batch is its mean
    "counted"   the longer loop of the same page, for "training samples of variable size": it collects the step's
                micro-batches first and divides the sum of losses by the step's targets

Ways of resuming, all with save_state and load_state:

    ""                skip_first_batches
    "seedable"        the same with use_seedable_sampler
    "stateful"        use_stateful_dataloader instead of skipping, with use_seedable_sampler
    "own generator"   as "", and the user gives the DataLoader a torch.Generator, seeded for each epoch, so that the
                      loader draws no other random numbers

Checkpoints are folders `step_{number}`, as in examples/complete_nlp_example.py.
Pages: huggingface.co/docs/accelerate/usage_guides/gradient_accumulation and /checkpoint.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader

from benchmarks.engine_peers.jobs import Job, Notes, newest, number_in
from benchmarks.engine_peers.toy import (
    ROWS,
    ToyData,
    ToyModel,
    build_optimizer,
    build_schedule,
    mean_loss,
    num_targets,
    summed_loss,
)

PACKAGES = ("accelerate", "torchdata")


class Loop:
    """What both loops work on: the prepared objects."""

    def __init__(self, job: Job, notes: Notes) -> None:
        self.job = job
        self.notes = notes
        self.accelerator = Accelerator(
            gradient_accumulation_steps=job.accumulation,
            mixed_precision="fp16" if job.half else "no",
            cpu=True,
            dataloader_config=DataLoaderConfiguration(
                use_seedable_sampler=job.way in ("seedable", "stateful"),
                use_stateful_dataloader=job.way == "stateful",
            ),
        )
        set_seed(0)
        model = ToyModel(job)
        optimizer = build_optimizer(model, job)
        notes.watch(model, optimizer)
        notes.has_scaler = self.accelerator.scaler is not None
        self.order = torch.Generator() if job.way == "own generator" else None
        loader = DataLoader(ToyData(job), batch_size=ROWS, shuffle=job.shuffle, generator=self.order)
        self.model, self.optimizer, self.loader, self.scheduler = self.accelerator.prepare(
            model, optimizer, loader, build_schedule(optimizer, job)
        )
        self.steps = 0

    def close_step(self) -> None:
        """Step, and save if a checkpoint is due."""
        self.notes.step_ends(self.optimizer)
        if self.job.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.job.clip)
        self._step()
        self.steps += 1
        if self.job.folder and self.steps % self.job.save_every == 0:
            with self.notes.saving(self.steps):
                self.accelerator.save_state(f"{self.job.folder}/step_{self.steps}")

    def _step(self) -> None:
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()

    def accumulate(self, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Run an epoch, or the rest of one, as the page shows first."""
        for batch in batches:
            with self.accelerator.accumulate(self.model):
                loss = mean_loss(self.model(batch["input_ids"]), batch)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.close_step()
                else:
                    self._step()

    def count(self, batches: Any) -> None:  # noqa: ANN401 -- a prepared loader
        """Run an epoch as the page shows for samples of variable size."""
        stream = iter(batches)
        remainder = len(batches) % self.job.accumulation or self.job.accumulation
        num_steps = math.ceil(len(batches) / self.job.accumulation)
        for number in range(num_steps):
            size = self.job.accumulation if number < num_steps - 1 else remainder
            step = [next(stream) for _ in range(size)]
            targets = sum(num_targets(batch) for batch in step)
            for batch in step:
                loss = summed_loss(self.model(batch["input_ids"]), batch)
                self.accelerator.backward(loss * self.job.accumulation / targets)
            self.close_step()


def train(job: Job, notes: Notes) -> None:
    """Train as the job says."""
    loop = Loop(job, notes)
    first_epoch, first_batch = 0, 0
    checkpoint = newest(job.folder, "step_*")
    if checkpoint is not None:
        loop.accelerator.load_state(str(checkpoint))
        loop.steps = notes.resumed_from = number_in(checkpoint)
        first_epoch, step = divmod(loop.steps, job.steps_per_epoch)
        first_batch = step * job.accumulation
    run = loop.count if job.way == "counted" else loop.accumulate
    for epoch in range(first_epoch, job.epochs):
        loader = loop.loader
        loader.set_epoch(epoch)
        if loop.order is not None:
            loop.order.manual_seed(epoch)
        if epoch == first_epoch and first_batch and job.way != "stateful":
            loader = loop.accelerator.skip_first_batches(loader, first_batch)
        run(loader)
