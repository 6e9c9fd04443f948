"""The cases with Hugging Face Trainer.

    ""            compute_loss_func with num_items_in_batch, as the page on custom losses says
    "model loss"  a model that returns the mean loss of its micro-batch and takes no loss arguments

Resuming: `trainer.train(resume_from_checkpoint=get_last_checkpoint(folder))`, as the example scripts do.
Pages: huggingface.co/docs/transformers/en/trainer_recipes and /grad_accumulation.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from benchmarks.engine_peers.jobs import Job, Notes
from benchmarks.engine_peers.toy import (
    ROWS,
    ToyData,
    ToyModel,
    build_optimizer,
    build_schedule,
    mean_loss,
    summed_loss,
)

PACKAGES = ("transformers", "accelerate")


class ToyForTrainer(nn.Module):
    """The toy with the arguments and the output that Trainer expects."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.toy = ToyModel(job)
        self.returns_loss = job.way == "model loss"

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        """Return logits, and the mean loss of the micro-batch if that is how this model is used."""
        logits = self.toy(input_ids)
        if self.returns_loss:
            return {"loss": mean_loss(logits, {"input_ids": input_ids, "labels": labels}), "logits": logits}
        # compute_loss_func is shown outputs and labels, and the toy's poison is in the inputs.
        return {"logits": logits, "input_ids": input_ids}


class Watcher(TrainerCallback):
    """Writes into the notes what Trainer does; a save lies between on_step_end and on_save."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.saving = ExitStack()

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **others: Any,  # noqa: ANN401 -- model, optimizer and what else Trainer has
    ) -> None:
        """Note the learning rate of a step whose gradients are complete."""
        self.notes.step_ends(others["optimizer"])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **others: Any,  # noqa: ANN401 -- as above
    ) -> None:
        """A checkpoint, if one is due, is written next."""
        if control.should_save:
            self.saving.enter_context(self.notes.saving(state.global_step))

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **others: Any,  # noqa: ANN401 -- as above
    ) -> None:
        """The checkpoint is written."""
        self.saving.close()


def loss_of_step(outputs: dict[str, Tensor], labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
    """Return a micro-batch's part of the mean over the step."""
    return summed_loss(outputs["logits"], {**outputs, "labels": labels}) / num_items_in_batch


def train(job: Job, notes: Notes) -> None:
    """Train as the job says."""
    model = ToyForTrainer(job)
    optimizer = build_optimizer(model, job)
    notes.watch(model.toy, optimizer)
    arguments = TrainingArguments(
        output_dir=job.folder or mkdtemp(),
        per_device_train_batch_size=ROWS,
        gradient_accumulation_steps=job.accumulation,
        num_train_epochs=job.epochs,
        max_grad_norm=job.clip,
        fp16=job.half,
        train_sampling_strategy="random" if job.shuffle else "sequential",
        save_strategy="steps" if job.folder else "no",
        save_steps=job.save_every,
        save_total_limit=2,
        seed=0,
        use_cpu=True,
        report_to="none",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=ToyData(job),
        optimizers=(optimizer, build_schedule(optimizer, job)),
        compute_loss_func=None if job.way == "model loss" else loss_of_step,
        callbacks=[Watcher(notes)],
    )
    notes.has_scaler = trainer.accelerator.scaler is not None
    checkpoint = get_last_checkpoint(job.folder) if job.folder and os.path.isdir(job.folder) else None
    if checkpoint is not None:
        notes.resumed_from = int(Path(checkpoint).name.rpartition("-")[2])
    trainer.train(resume_from_checkpoint=checkpoint)
