"""What is counted is what is there."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mambrane.layers.cost import FiringRates
from mambrane.models.config import ModelConfig
from mambrane.models.cost import count_costs
from tests.models.modes import SMALL, all_modes, build_awake, describe, random_tokens


@pytest.mark.parametrize("config", all_modes(), ids=describe)
def test_the_parts_hold_every_parameter_once(config):
    model = build_awake(config)
    assert sum(part.parameters for part in count_costs(model)) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("config", all_modes(), ids=describe)
@torch.no_grad()
def test_the_components_count_every_number_that_is_remembered(config):
    def num_numbers(tree):
        if isinstance(tree, torch.Tensor):
            return tree.numel() * tree.is_floating_point()
        return 0 if tree is None else sum(map(num_numbers, tree))

    model = build_awake(config)
    counted = sum(cost.state_numbers for cost in count_costs(model))
    assert counted == num_numbers(model(random_tokens(1, 3)).state)


@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_matrix_products_agree_with_the_flop_counter_of_torch(version):
    config = ModelConfig(**SMALL, use_mamba=True, mamba_version=version, use_adaptive_gating=True)
    model = build_awake(config).float()
    num_tokens = 128
    with FlopCounterMode(display=False) as counter:
        model(random_tokens(1, num_tokens))
    parts = count_costs(model)
    counted = sum(part.dense_macs_per_token + part.spike_macs_per_token for part in parts)
    assert counter.get_total_flops() == pytest.approx(2 * counted * num_tokens, rel=1e-6)


def test_synaptic_operations_follow_the_firing_rate():
    model = build_awake(ModelConfig(**SMALL))
    full, tenth = count_costs(model), count_costs(model, [FiringRates(0.1, 0.1)] * 2)
    assert sum(p.synaptic_operations_per_token for p in tenth) == pytest.approx(
        0.1 * sum(p.synaptic_operations_per_token for p in full)
    )


def test_each_part_of_a_small_model_costs_what_paper_says():
    """D 8, S 4, E 16, N 3, R 1, two taps, attention of width 4, window 5, vocabulary 40; rates 0.5, 0.25."""
    config = ModelConfig(
        hidden_dim=8,
        num_layers=1,
        spiking_units=4,
        use_mamba=True,
        mamba_d_state=3,
        mamba_d_conv=2,
        use_adaptive_gating=True,
        num_gate_heads=2,
        use_cross_attention=True,
        cross_attn_heads=2,
        cross_attn_window=5,
    )
    rows = {
        part.name: (
            part.parameters,
            part.dense_macs_per_token,
            part.spike_macs_per_token,
            part.synaptic_operations_per_token,
            part.state_updates_per_token,
        )
        for part in count_costs(build_awake(config), [FiringRates(0.5, 0.25)])
    }
    assert rows == {
        "Mamba": (8 + 256 + 48 + 112 + 32 + 48 + 16 + 128, 256 + 112 + 16 + 128, 0, 0, 32 + 3 * 16 * 3 + 2 * 16),
        "first population": (4 + 4, 0, 0, 0, 2 * 4),
        "spike adapter": (0, 0, 0, 0, 4),
        "plastic synapse": (16, 0, 16, 8, 0),
        "second population": (4 + 4, 0, 0, 0, 2 * 4),
        "coupling": (8 + 8 + 4 + 4 + 8 + 2, 8 * 8, 0, 0, 3 * 8 + 8),
        "cross-attention": (2 * 128, 2 * 128 + 2 * 2 * 5 * 4, 0, 0, 0),
        "embedding and head": (40 * 8 + 8, 320, 0, 0, 0),
    }
