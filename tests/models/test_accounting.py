"""What is counted is what is there."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mambrane.models.accounting import account
from mambrane.models.config import ModelConfig
from mambrane.ops.ssd.chunked import CHUNK_TOKENS
from tests.models.modes import SMALL, all_modes, build_awake, describe, random_tokens


@pytest.mark.parametrize("config", all_modes(), ids=describe)
def test_the_parts_hold_every_parameter_once(config):
    model = build_awake(config)
    assert sum(part.parameters for part in account(model)) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_matrix_products_agree_with_the_flop_counter_of_torch(version):
    config = ModelConfig(**SMALL, use_mamba=True, mamba_version=version, use_adaptive_gating=True)
    model = build_awake(config).float()
    num_tokens = 2 * CHUNK_TOKENS
    with FlopCounterMode(display=False) as counter:
        model(random_tokens(1, num_tokens))
    parts = account(model)
    counted = sum(part.dense_macs_per_token + part.spike_macs_per_token for part in parts)
    assert counter.get_total_flops() == pytest.approx(2 * counted * num_tokens, rel=1e-6)


def test_synaptic_operations_follow_the_firing_rate():
    model = build_awake(ModelConfig(**SMALL))
    full, tenth = account(model), account(model, [(0.1, 0.1)] * 2)
    assert sum(p.synaptic_operations_per_token for p in tenth) == pytest.approx(
        0.1 * sum(p.synaptic_operations_per_token for p in full)
    )
