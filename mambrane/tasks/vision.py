"""Images as sequences: a model reads an image token by token, then says its label; measured by accuracy.

    input    END_OF_TEXT, the bytes of the image            target    the label, behind the last byte; none before

The loss is the cross entropy of the label among all tokens. The guess is the most likely of the labels that there are:
those of one task (domain-incremental) or of all classes (class-incremental). How images are tokens and their classes
tasks: data/image_tasks.py.
"""

from typing import NamedTuple

import torch
from torch import nn

from mambrane.continual.measure import Measure
from mambrane.continual.stream import Task
from mambrane.core.errors import UserError
from mambrane.data.batch import MicroBatch
from mambrane.data.config import DataConfig
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader, heldout_batches, records_of
from mambrane.data.tokens import TokenFile
from mambrane.engine.objective import Objective, fused_next_token_objective
from mambrane.engine.snapshot import evaluation_mode

ACCURACY = Measure(name="accuracy", title="accuracy", unit="of 1", is_lower_better=False)


class Accuracy(NamedTuple):
    """How many images of a held-out split are labelled rightly."""

    num_right: int
    num_images: int

    @property
    def value(self) -> float:
        """Right ones, as a part of all."""
        return self.num_right / self.num_images

    @property
    def details(self) -> dict[str, float]:
        """Nothing beside it."""
        return {}


class Kind:
    """Labels images."""

    measure = ACCURACY
    is_text = False

    def __init__(self, data: DataConfig, *, seed: int, device: torch.device) -> None:
        self._data = data
        self._seed = seed
        self._device = device

    def make_loader(self, task: Task) -> SequenceLoader:
        """Return the images of a task, from their beginning; an epoch is as long as that of a text would be.

        Raises:
            UserError: the data are no images, or --sequence-length is not that of an image.
        """
        for file in task.train:
            self._check(file)
        return SequenceLoader(
            task.train,
            sequence_length=self._data.sequence_length,
            batch_size=self._data.batch_size,
            seed=self._seed,
            name=task.order_name,
            epoch_tokens=task.epoch_tokens(self._data.epoch_tokens),
            are_records=True,
        )

    def _check(self, file: TokenFile) -> None:
        length, rest = divmod(file.num_tokens, file.num_documents)
        # A lone document has the length of all documents whatever it is; a lone image is nothing to learn from.
        if rest or file.num_documents < 2 or file.num_bytes != file.num_documents * (length - 1):
            raise UserError(
                f"--task vision with --data {' '.join(self._data.data)}: no images in --tokenizer bytes",
                wanted="digits, or a folder of IDX files as MNIST's",
                way_out="--data digits --tokenizer bytes",
            )
        if self._data.sequence_length != length - 1:
            raise UserError(
                f"--sequence-length {self._data.sequence_length} for images of {length - 1} tokens",
                wanted="the length of an image with --image-tokens " + self._data.image_tokens,
                way_out=f"--sequence-length {length - 1}",
            )

    def objective(self, model: nn.Module, batch: MicroBatch) -> Objective:
        """Return the summed cross entropy of the labels, in nats."""
        return fused_next_token_objective(model, batch)

    def training_numbers(self, loss: float, task: Task) -> dict[str, float]:
        """Return nothing beside the loss: accuracy is measured on what is held out."""
        return {}

    def evaluate(self, model: nn.Module, domain: Domain) -> Accuracy:
        """Return how many of the domain's held-out images are labelled rightly."""
        self._check(domain.heldout)
        labels = torch.tensor(domain.record["labels"], device=self._device)
        num_right = num_images = 0
        length = self._data.sequence_length + 1
        with evaluation_mode(model), torch.inference_mode():
            for batch in heldout_batches(domain.heldout, length, self._data.batch_size):
                inputs_BT, targets_BT, resets_BT = records_of(batch).to(self._device)
                logits_BV = model(inputs_BT, resets_BT=resets_BT).logits_BTV[:, -1]
                guesses_B = labels[logits_BV[:, labels].argmax(dim=1)]
                num_right += int((guesses_B == targets_BT[:, -1]).sum())
                num_images += len(guesses_B)
        return Accuracy(num_right, num_images)
