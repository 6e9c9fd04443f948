"""The spiking block against its formula, written out with loops."""

import pytest
import torch

from mambrane.models.config import ModelConfig
from tests.models.blocks.by_hand import fire, rms_norm, trace
from tests.models.modes import SMALL, build_awake

B, T = 2, 12


def run(pattern):
    block = build_awake(ModelConfig(**SMALL, block_pattern=pattern)).blocks[0]
    x = torch.randn(B, T, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return block, x, *block(x)


@pytest.mark.parametrize("pattern", ["spiking", "hybrid"])
@torch.no_grad()
def test_a_block_computes_its_formula(pattern):
    """A hybrid block without a Mamba is a spiking one."""
    block, x, output, state, _ = run(pattern)
    z1, _ = fire(rms_norm(x, block.norm.weight) @ block.input.weight.T, block.first.log_tau.exp().expand(B, T, -1))
    z2, last = fire(z1 @ block.plastic.weight.T, block.second.log_tau.exp().expand(B, T, -1))
    path = trace(z1) @ block.adapter.projection.weight.T + z2 @ block.readout.weight.T
    expected = x + rms_norm(path, block.spiking_norm.weight) @ block.output.weight.T
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(state.second_BS, last, rtol=0, atol=1e-9)


@torch.no_grad()
def test_activity_holds_the_mean_rates_and_no_gate():
    activity = run("spiking")[-1]
    assert activity.first_rate.item() == pytest.approx(activity.pre_spikes_BTS.sum().item() / (B * T * 24))
    assert activity.second_rate.item() == pytest.approx(activity.post_spikes_BTS.sum().item() / (B * T * 24))
    assert 0.01 < activity.second_rate < 0.9
    assert activity.gate is None
