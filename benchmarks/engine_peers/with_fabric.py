"""The cases with Lightning Fabric, which leaves the loop, and with it the steps, to its user.

    ""            the loop of the page on gradient accumulation, its iterations counted from one; the page leaves the
                  loss open, here it is the mean of the micro-batch over N
    "as printed"  the same with `iteration % N != 0` counted from zero, as the page prints it
    "by hand"     steps collected by the user, who divides by their targets; for resuming, the user also puts a
                  StatefulDataLoader and the state of torch's generator into what fabric.save writes

Saving: fabric.save("step_N.ckpt", state), fabric.load of the newest one; "" skips the batches that were seen.
Pages: lightning.ai/docs/fabric/stable/advanced/gradient_accumulation.html and /guide/checkpoint/checkpoint.html.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from lightning.fabric import Fabric, seed_everything
from lightning.fabric.plugins import MixedPrecision
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

PACKAGES = ("lightning", "fsspec")


class Loop:
    """The user's training loop."""

    def __init__(self, job: Job, notes: Notes) -> None:
        self.job = job
        self.notes = notes
        # precision="16-mixed" becomes bf16 on a CPU; the plugin itself takes a scaler for the CPU.
        self.scaler = torch.amp.GradScaler("cpu") if job.half else None
        plugin = MixedPrecision("16-mixed", "cpu", self.scaler) if job.half else None
        self.fabric = Fabric(accelerator="cpu", devices=1, plugins=plugin)
        notes.has_scaler = job.half
        seed_everything(0, verbose=False)
        model = ToyModel(job)
        optimizer = build_optimizer(model, job)
        notes.watch(model, optimizer)
        self.scheduler = build_schedule(optimizer, job)
        self.model, self.optimizer = self.fabric.setup(model, optimizer)
        self.order = torch.Generator() if job.way == "by hand" else None
        loader = DataLoader(ToyData(job), batch_size=ROWS, shuffle=job.shuffle, generator=self.order)
        self.loader = self.fabric.setup_dataloaders(loader)
        self.steps = 0

    def run(self, batches: Iterable[dict[str, torch.Tensor]], first: int) -> None:
        """Run an epoch, or the rest of one from micro-batch `first` on, as the page shows."""
        offset = first if self.job.way == "as printed" else first + 1
        for iteration, batch in enumerate(batches, start=offset):
            is_accumulating = iteration % self.job.accumulation != 0
            with self.fabric.no_backward_sync(self.model, enabled=is_accumulating):
                loss = mean_loss(self.model(batch["input_ids"]), batch)
                self.fabric.backward(loss / self.job.accumulation)
            if not is_accumulating:
                self.close_step()

    def run_by_hand(self, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Run an epoch, or the rest of one, with steps that the user collects."""
        stream = iter(batches)
        while micro_batches := list(islice(stream, self.job.accumulation)):
            targets = sum(num_targets(batch) for batch in micro_batches)
            for batch in micro_batches:
                self.fabric.backward(summed_loss(self.model(batch["input_ids"]), batch) / targets)
            self.close_step()

    def close_step(self) -> None:
        """Step, and save if a checkpoint is due."""
        self.notes.step_ends(self.optimizer)
        if self.job.clip:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.job.clip)
        scale = self.scaler.get_scale() if self.scaler else 1.0
        self.optimizer.step()
        was_skipped = self.scaler is not None and self.scaler.get_scale() < scale
        if not (self.job.way == "by hand" and was_skipped):
            self.scheduler.step()
        self.optimizer.zero_grad()
        self.steps += 1
        if self.job.folder and self.steps % self.job.save_every == 0:
            with self.notes.saving(self.steps):
                self.fabric.save(f"{self.job.folder}/step_{self.steps}.ckpt", self.state())

    def state(self) -> dict[str, Any]:
        """Return what the checkpoint page puts into a checkpoint; by hand, also the randomness."""
        state = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler, "steps": self.steps}
        if self.job.way == "by hand":
            state["random"] = torch.get_rng_state()
        return state


def train(job: Job, notes: Notes) -> None:
    """Train as the job says."""
    loop = Loop(job, notes)
    first_epoch = first_batch = 0
    checkpoint = newest(job.folder, "step_*.ckpt")
    if checkpoint is not None:
        state = loop.state()
        loop.fabric.load(checkpoint, state)
        loop.steps = notes.resumed_from = number_in(checkpoint)
        first_epoch, step = divmod(loop.steps, job.steps_per_epoch)
        first_batch = step * job.accumulation
        if job.way == "by hand":
            torch.set_rng_state(state["random"])
    for epoch in range(first_epoch, job.epochs):
        if loop.order is not None:
            loop.order.manual_seed(epoch)
        first = first_batch if epoch == first_epoch else 0
        batches = islice(iter(loop.loader), first, None)
        if job.way == "by hand":
            loop.run_by_hand(batches)
        else:
            loop.run(batches, first)
