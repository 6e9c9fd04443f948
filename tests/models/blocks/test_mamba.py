"""A plain Mamba block is x + mixer(norm(x)), with the sizes of the configuration."""

import torch

from mambrane.core.seeding import make_generator
from mambrane.layers.cost import ALWAYS_FIRING
from mambrane.models.blocks import mamba
from mambrane.models.config import ModelConfig

CONFIG = ModelConfig(block_pattern="mamba", hidden_dim=16, num_layers=2, mamba_d_state=4, mamba_expand=3)


def make_block():
    block = mamba.build(CONFIG)
    block.reset_parameters(make_generator(0, "weights"), num_blocks=2)
    return block


def test_the_output_is_the_input_and_what_the_mixer_makes_of_its_norm():
    block, x_BTD = make_block(), torch.randn(2, 5, 16, generator=make_generator(1))
    y_BTD, _, activity = block(x_BTD)
    mixed_BTD, _ = block.mixer(block.norm(x_BTD))
    torch.testing.assert_close(y_BTD, x_BTD + mixed_BTD)
    assert not torch.equal(y_BTD, x_BTD)
    assert all(part is None for part in activity)


def test_the_sizes_are_those_of_the_configuration():
    block = make_block()
    assert block.mixer.out_proj.weight.shape == (16, 3 * 16)
    (cost,) = block.costs(ALWAYS_FIRING)
    assert cost.parameters == sum(parameter.numel() for parameter in block.parameters())


def test_it_names_the_operations_it_calls_and_the_settings_it_reads():
    assert "causal_conv" in mamba.operations(CONFIG)
    assert {"mamba_expand", "mamba_d_state", "mamba_d_conv"} <= set(mamba.SETTINGS)
