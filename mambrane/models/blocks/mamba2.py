"""A plain Mamba block, version 2: x + mamba2(norm(x))."""

from mambrane.layers.mamba2 import Mamba2
from mambrane.models.block import MixerBlock
from mambrane.models.config import ModelConfig

SETTINGS = {
    "mamba_expand": None,
    "mamba_d_state": None,
    "mamba_d_conv": None,
    "mamba_head_dim": None,
    "mamba_groups": None,
}


def build(config: ModelConfig) -> MixerBlock:
    """Return a block."""
    return MixerBlock(config.hidden_dim, Mamba2(config.hidden_dim, **config.mamba2_sizes))


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    return Mamba2.operations
