"""As `ternary`, with signed whole numbers up to 4: bursts of spikes, more additions, less lost."""

from mambrane.models.blocks import ternary
from mambrane.models.config import ModelConfig

SETTINGS = ternary.SETTINGS
LEVELS = 4
"""Largest count."""


def build(config: ModelConfig) -> ternary.SpikeCountBlock:
    """Return a block."""
    return ternary.SpikeCountBlock(config, levels=LEVELS)


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    return ternary.operations(config)
