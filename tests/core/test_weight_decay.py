"""The mark that keeps a parameter from weight decay reaches the optimizer."""

import torch
from torch import nn

from mambrane.core.weight_decay import exempt_from_weight_decay
from mambrane.engine.optimizer import takes_decay


def test_a_marked_matrix_does_not_decay_and_an_unmarked_one_does():
    layer = nn.Linear(3, 2)
    assert takes_decay("weight", layer.weight, layer)
    exempt_from_weight_decay(layer.weight)
    assert not takes_decay("weight", layer.weight, layer)
    assert takes_decay("other", nn.Parameter(torch.ones(2, 2)), layer)
