"""The first draw of all initial weights, from one generator in the order of the parameter names.

Products and convolutions are drawn here as torch draws them; vectors keep the value they were built with. What a block
or a mixer wants otherwise it sets in its own `reset_parameters`, which a model calls afterwards, block by block.
"""

import math

import torch
from torch import nn


@torch.no_grad()
def draw_default_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every product and convolution inside a module; biases of products start at zero."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            _uniform(child.weight, generator)
            if child.bias is not None:
                child.bias.zero_()
        elif isinstance(child, nn.Conv1d):
            _uniform(child.weight, generator)
            if child.bias is not None:
                _uniform(child.bias, generator, fan_in=child.weight[0].numel())


def _uniform(weight: torch.Tensor, generator: torch.Generator, fan_in: int | None = None) -> None:
    """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's default for linear and convolution layers."""
    bound = 1.0 / math.sqrt(fan_in or weight[0].numel())
    weight.uniform_(-bound, bound, generator=generator)
