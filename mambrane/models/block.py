"""What a model needs of a block, and how a kind of block is found: by the name of its file in `models/blocks`.

A block takes the residual stream and returns it with something added. What it remembers is a value of its own type,
passed in and returned; None starts from nothing. One token is a sequence of length 1, so there is no other step.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.cost import ComponentCost, FiringRates, num_parameters
from mambrane.layers.norm import RmsNorm
from mambrane.models.config import ModelConfig, block_kind_names
from mambrane.models.state import BlockActivity, BlockState

PUBLISHED_EMBEDDING_STD = 0.02

Need = tuple[str, Callable[[ModelConfig], bool]]
"""What a setting needs in order to do anything: as text, and whether a configuration has it."""


class Block(nn.Module, ABC):
    """One block of the residual stream."""

    embedding_std: float
    """Standard deviation of the embedding that this block works best behind; a model takes the largest."""
    plastic: nn.Linear | None
    """The plastic synapse, which STDP changes by the spikes in the block's activity; None where there is none."""

    @abstractmethod
    def forward(
        self, x_BTD: Activations, *, state: BlockState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, BlockState, BlockActivity]:
        """Return the new residual stream [B, T, D], the state after the last token, and what the block did."""

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator, *, num_blocks: int) -> None:
        """Draw what does not start at torch's defaults, which are drawn before, in a stack of so many blocks."""

    @abstractmethod
    def costs(self, rates: FiringRates) -> list[ComponentCost]:
        """Return the cost of each component at these firing rates."""


@runtime_checkable
class BlockKind(Protocol):
    """What a file of `models/blocks` offers."""

    SETTINGS: Mapping[str, Need | None]
    """Fields of ModelConfig that blocks of this kind read, and what each needs in order to do anything."""

    def build(self, config: ModelConfig) -> Block:
        """Return a block."""

    def operations(self, config: ModelConfig) -> tuple[str, ...]:
        """Return the operations with compiled kernels that such a block calls."""


def block_kind(name: str) -> BlockKind:
    """Return the kind of block with this name; `ModelConfig` has checked that there is one."""
    return import_module(f"mambrane.models.blocks.{name}")


def missing_of_model(config: ModelConfig) -> dict[str, str]:
    """Return what each setting of blocks lacks in order to do anything, as text; empty where it lacks nothing."""
    kinds = {name: block_kind(name) for name in block_kind_names()}
    missing = {}
    for setting in dict.fromkeys(setting for kind in kinds.values() for setting in kind.SETTINGS):
        readers = [name for name, kind in kinds.items() if setting in kind.SETTINGS]
        needs = [kinds[name].SETTINGS[setting] for name in readers if name in config.block_kinds]
        unmet = [need[0] for need in needs if need is not None and not need[1](config)]
        missing[setting] = " or ".join(unmet) if len(unmet) == len(needs) else ""
        if not needs:
            missing[setting] = f"a block that reads it in --block-pattern: {' or '.join(readers)}"
    return missing


def operations_of_model(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that a model calls, each once."""
    of_blocks = (name for kind in config.block_kinds for name in block_kind(kind).operations(config))
    return tuple(dict.fromkeys((*of_blocks, "rms_norm", "sum_of_outer_products", "linear_cross_entropy")))


@runtime_checkable
class Mixer(Protocol):
    """A layer that mixes tokens: width D in, width D out, no norm and no residual; a torch module."""

    @property
    def out_proj(self) -> nn.Linear:
        """The last product."""

    def __call__(
        self, u_BTD: Activations, *, state: BlockState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, BlockState]:
        """Return the output [B, T, D] and the state after the last token."""

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw what does not start at torch's defaults."""

    def cost(self) -> ComponentCost:
        """Return what it costs."""


class MixerBlock(Block):
    """A block without spikes: x + mixer(norm(x)), as in a published Mamba."""

    embedding_std = PUBLISHED_EMBEDDING_STD

    def __init__(self, dim: int, mixer: Mixer) -> None:
        super().__init__()
        self.plastic = None
        self.norm = RmsNorm(dim)
        self.mixer = mixer

    def forward(
        self, x_BTD: Activations, *, state: BlockState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, BlockState, BlockActivity]:
        """Return the new residual stream [B, T, D], the mixer's state, and an empty activity."""
        y_BTD, state = self.mixer(self.norm(x_BTD), state=state, resets_BT=resets_BT)
        return x_BTD + y_BTD, state, BlockActivity()

    def reset_parameters(self, generator: torch.Generator, *, num_blocks: int) -> None:
        """Start the mixer as published, its output divided so that the stream does not grow with depth."""
        self.mixer.reset_parameters(generator)
        with torch.no_grad():
            self.mixer.out_proj.weight.div_(math.sqrt(num_blocks))

    def costs(self, rates: FiringRates) -> list[ComponentCost]:
        """Return the cost of the mixer with its norm."""
        cost = self.mixer.cost()
        return [cost + ComponentCost(name=cost.name, parameters=num_parameters(self.norm))]
