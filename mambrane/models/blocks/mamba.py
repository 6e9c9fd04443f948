"""A plain Mamba block, version 1: x + mamba(norm(x))."""

from mambrane.layers.mamba import Mamba
from mambrane.models.block import MixerBlock
from mambrane.models.config import ModelConfig

SETTINGS = {"mamba_expand": None, "mamba_d_state": None, "mamba_d_conv": None, "mamba_dt_rank": None}


def build(config: ModelConfig) -> MixerBlock:
    """Return a block."""
    return MixerBlock(config.hidden_dim, Mamba(config.hidden_dim, **config.mamba_sizes))


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    return Mamba.operations
