"""What both plain blocks are: x + mixer(norm(x)), with the sizes of the configuration."""

import torch

from mambrane.core.seeding import make_generator
from mambrane.layers.cost import ALWAYS_FIRING
from mambrane.models.block import block_kind
from mambrane.models.config import ModelConfig


def build(name):
    """Return the kind of block of this name, a configuration, and a block of it."""
    kind = block_kind(name)
    config = ModelConfig(block_pattern=name, hidden_dim=16, num_layers=2, mamba_d_state=4, mamba_expand=3)
    block = kind.build(config)
    block.reset_parameters(make_generator(0, "weights"), num_blocks=2)
    return kind, config, block


def check_formula(name):
    """Check that the output is the input and what the mixer makes of its norm."""
    (_, _, block), x_BTD = build(name), torch.randn(2, 5, 16, generator=make_generator(1))
    y_BTD, _, activity = block(x_BTD)
    mixed_BTD, _ = block.mixer(block.norm(x_BTD))
    torch.testing.assert_close(y_BTD, x_BTD + mixed_BTD)
    assert not torch.equal(y_BTD, x_BTD)
    assert all(part is None for part in activity)


def check_sizes(name):
    """Check that the sizes are those of the configuration, and that the cost counts every parameter."""
    _, _, block = build(name)
    assert block.mixer.out_proj.weight.shape == (16, 3 * 16)
    (cost,) = block.costs(ALWAYS_FIRING)
    assert cost.parameters == sum(parameter.numel() for parameter in block.parameters())


def check_declarations(name):
    """Check that it names the operations it calls and the settings it reads."""
    kind, config, _ = build(name)
    assert "causal_conv" in kind.operations(config)
    assert {"mamba_expand", "mamba_d_state", "mamba_d_conv"} <= set(kind.SETTINGS)
