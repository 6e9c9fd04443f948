"""The hybrid block against its formula, written out with loops; Mamba and attention are pinned in tests/layers."""

import math

import pytest
import torch
import torch.nn.functional as F

from mambrane.models.config import ModelConfig
from tests.models.modes import SMALL, build_awake

MODES = {
    "spiking": {},
    "sequential": {"use_mamba": True, "integration_mode": "sequential"},
    "parallel": {"use_mamba": True, "integration_mode": "parallel"},
    "bidirectional": {"use_mamba": True, "use_adaptive_gating": True},
    "cross-attention": {"use_mamba": True, "use_cross_attention": True},
}
B, T = 2, 12


def build_block(mode):
    return build_awake(ModelConfig(**SMALL, **MODES[mode])).blocks[0]


def rms_norm(x, weight=1.0):
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5) * weight


def fire(currents, taus):
    """Return spikes and last membranes of neurons with threshold 1 and soft reset, looped over tokens."""
    v, spikes = torch.zeros_like(currents[:, 0]), []
    for t in range(currents.shape[1]):
        v = torch.exp(-1.0 / taus[:, t]) * v + currents[:, t]
        z = (v >= 1.0).to(v)
        v = v - z
        spikes.append(z)
    return torch.stack(spikes, dim=1), v


def by_hand(block, x, mode):
    """Return the output and the last membrane of the second population, from the weights of a block."""
    u = rms_norm(x, block.norm.weight)
    z1, _ = fire(u @ block.input.weight.T, block.first.log_tau.exp().expand(B, T, -1))
    trace, codes, kept = torch.zeros_like(z1[:, 0]), [], math.exp(-1 / 20)
    for t in range(T):
        trace = kept * trace + (1 - kept) * z1[:, t]
        codes.append(trace)
    a = torch.stack(codes, dim=1) @ block.adapter.projection.weight.T
    drive, scale = z1 @ block.plastic.weight.T, 1.0
    if mode == "sequential":
        m, _ = block.mamba(a)
        drive = drive + m @ block.mamba_to_second.weight.T
    elif mode == "parallel":
        m, _ = block.mamba(u)
    elif mode != "spiking":
        B_extra, C_extra = a @ block.spikes_to_B.weight.T, a @ block.spikes_to_C.weight.T
        m, _ = block.mamba(u + a, B_extra_BTN=B_extra, C_extra_BTN=C_extra)
        scale = 0.5 + torch.sigmoid(m @ block.mamba_to_tau.weight.T)
    z2, last = fire(drive, (block.second.log_tau.exp() * scale).expand(B, T, -1))
    s = a + z2 @ block.readout.weight.T
    if mode == "spiking":
        return x + rms_norm(s, block.spiking_norm.weight) @ block.output.weight.T, last
    if mode == "cross-attention":
        from_mamba, _ = block.spiking_reads_mamba(rms_norm(s), rms_norm(m))
        from_spiking, _ = block.mamba_reads_spiking(rms_norm(m), rms_norm(s))
        s, m = s + from_mamba, m + from_spiking
    fusion, heads = block.fusion, 4
    s, m = rms_norm(s, fusion.spiking_norm.weight), rms_norm(m, fusion.mamba_norm.weight)
    both = torch.cat([s, m], dim=-1)
    scores = fusion.bias if fusion.weight is None else both @ fusion.weight.T + fusion.bias
    gate = torch.sigmoid(scores).expand(B, T, heads).repeat_interleave(x.shape[-1] // heads, dim=-1)
    return x + (gate * s + (1 - gate) * m) @ block.output.weight.T, last


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_a_block_computes_its_formula(mode):
    block = build_block(mode)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(B, T, 32, generator=generator, dtype=torch.float64)
    expected, last_membrane = by_hand(block, x, mode)
    output, state, activity = block(x)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(state.second_BS, last_membrane, rtol=0, atol=1e-9)
    assert 0.01 < activity.post_spikes_BTS.mean() < 0.9


@torch.no_grad()
def test_mamba_steers_time_constants_between_a_half_and_one_and_a_half_times():
    block = build_block("bidirectional")
    block.plastic.weight.zero_()
    x = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    charged = block(x)[1]._replace(second_BS=torch.full((1, 24), 0.8, dtype=torch.float64))
    scales = []
    for weight in (0.0, 1e3, -1e3):
        block.mamba_to_tau.weight.fill_(weight)
        kept = block(x, state=charged)[1].second_BS / 0.8
        scales.append((-1.0 / torch.log(kept) / block.second.log_tau.exp()).mean().item())
    assert scales[0] == pytest.approx(1.0)
    assert sorted(scales[1:]) == pytest.approx([0.5, 1.5])


@torch.no_grad()
def test_activity_holds_the_mean_rates_and_the_share_of_the_spiking_path():
    block = build_block("parallel")
    block.fusion.bias.fill_(-2.0)
    x = torch.randn(B, T, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    activity = block(x)[2]
    assert activity.first_rate.item() == pytest.approx(activity.pre_spikes_BTS.sum().item() / (B * T * 24))
    assert activity.second_rate.item() == pytest.approx(activity.post_spikes_BTS.sum().item() / (B * T * 24))
    assert activity.gate.tolist() == pytest.approx([F.sigmoid(torch.tensor(-2.0)).item()] * 4)
