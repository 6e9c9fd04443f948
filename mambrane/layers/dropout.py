"""Dropout: in training, a part of the numbers is set to zero and the others are scaled so that their mean stays.

    y = x * keep / (1 - p)        keep = 1 with probability 1 - p, else 0

Outside training y = x. Which numbers are kept follows from the seed and from how often the layer has been called, which
a checkpoint holds: a run that is resumed draws what it would have drawn. Of a micro-batch that is run in parts, by
several processes or for lack of memory, each part keeps what it would keep in the whole (`dropout_of_rows`).

Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mambrane.core.seeding import make_generator


class Dropout(nn.Module):
    """Sets numbers to zero in training, with its own random numbers."""

    num_calls: Tensor

    def __init__(self, probability: float, *, seed: int) -> None:
        super().__init__()
        self.probability = probability
        self.seed = seed
        self.rows: tuple[int, int] | None = None
        """Inside `dropout_of_rows`: the first row of x in its micro-batch, and the rows of that."""
        self.register_buffer("num_calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return x with some of its numbers set to zero and the others larger; x itself outside training."""
        if not self.training:
            return x
        generator = make_generator(self.seed, "dropout", int(self.num_calls))
        first, num_rows = (0, len(x)) if self.rows is None else self.rows
        if self.rows is None:
            self.num_calls += 1
        # Drawn on the CPU, so that every device keeps the same numbers.
        keep = torch.empty(num_rows, *x.shape[1:]).bernoulli_(1 - self.probability, generator=generator)
        return x * (keep[first : first + len(x)] / (1 - self.probability)).to(x)


@contextmanager
def dropout_of_rows(model: nn.Module, first: int, num_rows: int) -> Iterator[None]:
    """Let a model that is called inside see x as rows of a micro-batch of so many, from the first one on.

    Every dropout layer draws for all rows, however often it is called inside; `count_dropout` counts the micro-batch.
    """
    layers = dropouts_of(model)
    before = [layer.rows for layer in layers]
    for layer in layers:
        layer.rows = (first, num_rows)
    try:
        yield
    finally:
        for layer, rows in zip(layers, before, strict=True):
            layer.rows = rows


def count_dropout(model: nn.Module) -> None:
    """Count a micro-batch that was run in parts, by this process or by others: the next one keeps other numbers."""
    for layer in dropouts_of(model):
        layer.num_calls += 1


def dropouts_of(model: nn.Module) -> list[Dropout]:
    """Return the dropout layers of a model."""
    return [module for module in model.modules() if isinstance(module, Dropout)]
