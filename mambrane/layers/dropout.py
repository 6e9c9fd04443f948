"""Dropout: in training, a part of the numbers is set to zero and the others are scaled so that their mean stays.

    y = x * keep / (1 - p)        keep = 1 with probability 1 - p, else 0

Outside training y = x. Which numbers are kept follows from the seed and from how often the layer has been called, which
a checkpoint holds: a run that is resumed draws what it would have drawn.

Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
"""

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
        self.register_buffer("num_calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return x with some of its numbers set to zero and the others larger; x itself outside training."""
        if not self.training:
            return x
        generator = make_generator(self.seed, "dropout", int(self.num_calls))
        self.num_calls += 1
        # Drawn on the CPU, so that every device keeps the same numbers.
        keep = torch.empty(x.shape).bernoulli_(1 - self.probability, generator=generator)
        return x * (keep / (1 - self.probability)).to(x)
