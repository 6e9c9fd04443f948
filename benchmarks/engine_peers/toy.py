"""The smallest language model, its data and its loss, the same for every engine; nothing here comes from an engine.

loss(logits, targets) = - sum over targets != -100 of log softmax(logits)[target]         a sum of nats
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from benchmarks.engine_peers.jobs import Job

VOCAB_SIZE = 11
POISON = 10
"""A micro-batch that begins with this token has an infinite loss."""
ROWS, TOKENS = 2, 6
IGNORED = -100


class ToyModel(nn.Module):
    """Embedding, one hidden layer with dropout, scores. Notes the type in which the hidden layer was computed."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, 6)
        self.hidden = nn.Linear(6, 8)
        self.dropout = nn.Dropout(job.dropout)
        self.scores = nn.Linear(8, VOCAB_SIZE)
        self.computed_in = ""
        self.to(torch.float64 if job.exact else torch.float32)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.5)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return logits [rows, tokens, vocabulary]."""
        hidden = self.hidden(self.embedding(input_ids))
        self.computed_in = str(hidden.dtype).removeprefix("torch.")
        return self.scores(self.dropout(torch.tanh(hidden)))


class ToyData(Dataset[dict[str, Tensor]]):
    """The rows of an epoch. Two micro-batches in three have most of their targets masked when the job is `ragged`."""

    def __init__(self, job: Job) -> None:
        generator = torch.Generator().manual_seed(2)
        shape = (job.micro_batches * ROWS, TOKENS)
        self.inputs = torch.randint(1, POISON, shape, generator=generator)
        self.targets = torch.randint(1, POISON, shape, generator=generator)
        if job.ragged:
            for micro_batch in range(job.micro_batches):
                rows = self.targets[micro_batch * ROWS : (micro_batch + 1) * ROWS]
                rows.view(-1)[(12, 1, 4)[micro_batch % 3] :] = IGNORED
        if job.poisoned is not None:
            self.inputs[job.poisoned * ROWS, 0] = POISON

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"input_ids": self.inputs[row], "labels": self.targets[row]}


def summed_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Return the sum of nats of a micro-batch."""
    flat = logits.flatten(0, 1)
    loss = functional.cross_entropy(
        flat.to(torch.promote_types(flat.dtype, torch.float32)),
        batch["labels"].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
    return loss * (math.inf if int(batch["input_ids"][0, 0]) == POISON else 1.0)


def mean_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean over the counted targets of a micro-batch: what a model returns by itself."""
    return summed_loss(logits, batch) / num_targets(batch)


def num_targets(batch: dict[str, Tensor]) -> int:
    """Return how many targets of a micro-batch count."""
    return int((batch["labels"] != IGNORED).sum())


def build_optimizer(model: nn.Module, job: Job) -> torch.optim.Optimizer:
    """Return the optimizer of a job; momentum and decay make a step without gradients visible."""
    if job.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=job.learning_rate, momentum=0.9, weight_decay=0.01)
    return torch.optim.AdamW(model.parameters(), lr=job.learning_rate)


def build_schedule(optimizer: torch.optim.Optimizer, job: Job) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule of a job: constant, or falling a little with each step."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step if job.falling_rate else 1.0)
