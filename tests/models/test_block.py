"""Kinds of block are found by the names of their files, and say which settings they read and what they run."""

from dataclasses import replace

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.layers.mamba import Mamba
from mambrane.models.block import Block, BlockKind, MixerBlock, block_kind, missing_of_model, operations_of_model
from mambrane.models.config import ModelConfig, block_kind_names

CONFIG = ModelConfig(hidden_dim=16, num_layers=2, spiking_units=8, num_gate_heads=2, cross_attn_heads=2)


def test_every_file_of_the_folder_is_a_kind_of_block():
    assert {"hybrid", "mamba", "mamba2"} <= set(block_kind_names())
    for name in block_kind_names():
        assert isinstance(block_kind(name), BlockKind)
        assert isinstance(block_kind(name).build(CONFIG), Block)


def test_every_setting_that_a_kind_reads_is_one_of_the_model():
    for name in block_kind_names():
        assert set(block_kind(name).SETTINGS) <= set(ModelConfig.__dataclass_fields__)


@torch.no_grad()
def test_a_block_of_a_mixer_is_the_stream_plus_the_mixer_of_its_norm():
    block = MixerBlock(2, Mamba(2, expand=1, d_state=3, d_conv=2, dt_rank=1))
    block.mixer.reset_parameters(make_generator(0, "weights"))
    block.norm.weight.copy_(torch.tensor([1.0, 2.0]))
    x = torch.tensor([[[3.0, 4.0], [1.0, -1.0]]])
    normalised = torch.stack([x[0, 0] / 12.5**0.5, x[0, 1]]) * torch.tensor([1.0, 2.0])
    expected = x + block.mixer(normalised.unsqueeze(0))[0]
    torch.testing.assert_close(block(x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "setting", "missing"),
    [
        ({}, "mamba_expand", "--use-mamba"),
        ({"use_mamba": True}, "mamba_expand", ""),
        ({"block_pattern": "mamba"}, "mamba_expand", ""),
        ({"block_pattern": "hybrid,mamba2"}, "mamba_expand", ""),
        ({"block_pattern": "mamba"}, "spiking_units", "a block that reads it in --block-pattern: hybrid or spiking"),
        ({"block_pattern": "mamba"}, "use_mamba", "a block that reads it in --block-pattern: hybrid"),
        ({"block_pattern": "mamba,hybrid"}, "spiking_units", ""),
        ({"use_mamba": True}, "cross_attn_window", "--use-cross-attention"),
        ({"liquid_backbone": "cfc"}, "liquid_units", ""),
        ({}, "liquid_units", "--liquid-backbone cfc or ltc"),
        ({"spike_to_mamba_method": "rate"}, "spike_temporal_tau", "--spike-to-mamba-method temporal"),
    ],
)
def test_a_setting_that_no_block_reads_lacks_something(changes, setting, missing):
    assert missing_of_model(replace(CONFIG, **changes))[setting] == missing


MAMBA_1 = {"causal_conv", "softplus", "selective_scan", "gated_skip"}
MAMBA_2 = {"causal_conv", "softplus", "ssd", "gated_skip"}


@pytest.mark.parametrize(
    ("changes", "operations"),
    [
        ({}, {"lif", "causal_trace"}),
        ({"spike_to_mamba_method": "rate"}, {"lif", "causal_conv"}),
        ({"use_mamba": True}, {"lif", "causal_trace", "spike_read_out", "steered_decay", *MAMBA_1}),
        ({"use_mamba": True, "mamba_version": 2}, {"lif", "causal_trace", "spike_read_out", "steered_decay", *MAMBA_2}),
        ({"use_mamba": True, "integration_mode": "parallel"}, {"lif", "causal_trace", "spike_read_out", *MAMBA_1}),
        ({"use_mamba": True, "liquid_backbone": "cfc"}, {"lif", "causal_trace", "cfc", "spike_read_out", *MAMBA_1}),
        (
            {"use_mamba": True, "use_adaptive_gating": True},
            {"lif", "causal_trace", "spike_read_out", "steered_decay", "head_gate", *MAMBA_1},
        ),
        ({"liquid_backbone": "ltc"}, {"lif", "causal_trace", "ltc"}),
        ({"block_pattern": "mamba"}, MAMBA_1),
        ({"block_pattern": "mamba2"}, MAMBA_2),
        ({"block_pattern": "hybrid,mamba2"}, {"lif", "causal_trace", *MAMBA_2}),
        (
            {"use_mamba": True, "use_cross_attention": True},
            {"lif", "causal_trace", "spike_read_out", "steered_decay", "windowed_attention", *MAMBA_1},
        ),
    ],
)
def test_the_operations_to_compile_are_those_that_the_blocks_call(changes, operations):
    # Every block begins with a norm and has products, and behind the last one stands the head.
    expected = operations | {"rms_norm", "sum_of_outer_products", "linear_cross_entropy"}
    assert set(operations_of_model(replace(CONFIG, **changes))) == expected
