"""All initial weights in one place, drawn from one generator in the order of the parameter names.

Mamba, of either version, starts as published; the couplings (W_B, W_C, W_tau, the attention outputs) start at zero,
so that a bidirectional block starts as two independent paths with Mamba dominating. W_in is drawn twice as wide as
torch's default, and W_p from normal(0, 2 / sqrt(S)), so that neurons fire from the first step. Every block puts
normalised paths into the stream, so the embedding is drawn wider than the published 0.02, lest the token drown in the
output of the first block; W_out starts as a scaled identity. Both are measured in docs/experiments.md.
"""

import math

import torch
from torch import nn

from mambrane.layers.liquid import LiquidPopulation
from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.models.block import HybridBlock

EMBEDDING_STD = 0.1
PUBLISHED_EMBEDDING_STD = 0.02
INPUT_GAIN = 2.0
PLASTIC_GAIN = 2.0


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Set every weight of a language model from `generator`; vectors keep the value they were built with."""
    num_layers = sum(isinstance(module, HybridBlock) for module in model.modules())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                _uniform(module.weight, generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.Conv1d):
                _uniform(module.weight, generator)
                _uniform(module.bias, generator, fan_in=module.weight[0].numel())
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, EMBEDDING_STD, generator=generator)
        for module in model.modules():
            if isinstance(module, Mamba | Mamba2 | LiquidPopulation):
                module.reset_parameters(generator)
            elif isinstance(module, HybridBlock):
                _initialise_block(module, num_layers, generator)


def _initialise_block(block: HybridBlock, num_layers: int, generator: torch.Generator) -> None:
    block.input.weight.mul_(INPUT_GAIN)
    units = block.plastic.weight.shape[1]
    block.plastic.weight.normal_(0.0, PLASTIC_GAIN / math.sqrt(units), generator=generator)
    # The paths enter the stream as they are, scaled so that its variance at the head does not grow with depth.
    block.output.weight.copy_(torch.eye(block.output.out_features) / math.sqrt(num_layers))
    if block.mode == "bidirectional":
        for coupling in (block.spikes_to_B, block.spikes_to_C, block.mamba_to_tau):
            coupling.weight.zero_()
        if block.uses_attention:
            block.spiking_reads_mamba.output.weight.zero_()
            block.mamba_reads_spiking.output.weight.zero_()


def _uniform(weight: torch.Tensor, generator: torch.Generator, fan_in: int | None = None) -> None:
    """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's default for linear and convolution layers."""
    bound = 1.0 / math.sqrt(fan_in or weight[0].numel())
    weight.uniform_(-bound, bound, generator=generator)
