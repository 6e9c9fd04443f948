"""Mamba of one channel and one state, token by token on paper, and its published initial values."""

import math

import pytest
import torch
import torch.nn.functional as F

from mambrane.core.seeding import make_generator
from mambrane.layers.mamba import Mamba, draw_dt_bias


def silu(x):
    return x / (1 + math.exp(-x))


def softplus(x):
    return math.log1p(math.exp(x))


def make_mixer():
    """Return a mixer with D = E = N = R = 1 and two taps."""
    mixer = Mamba(1, expand=1, d_state=1, d_conv=2, dt_rank=1)
    with torch.no_grad():
        mixer.in_proj.weight.copy_(torch.tensor([[0.9], [1.3]]))
        mixer.conv1d.weight.copy_(torch.tensor([[[0.4, 0.8]]]))
        mixer.conv1d.bias.fill_(0.1)
        mixer.x_proj.weight.copy_(torch.tensor([[0.6], [0.5], [-0.7]]))
        mixer.dt_proj.weight.fill_(1.2)
        mixer.dt_proj.bias.fill_(-0.3)
        mixer.A_log.fill_(math.log(0.5))
        mixer.D.fill_(0.25)
        mixer.out_proj.weight.fill_(2.0)
    return mixer


def expected_outputs(inputs, selecting):
    h, before, outputs = 0.0, 0.0, []
    for u, more in zip(inputs, selecting, strict=True):
        x, gate = 0.9 * u, 1.3 * u
        x, before = silu(0.4 * before + 0.8 * x + 0.1), x
        dt, B, C = 0.6 * (x + more), 0.5 * (x + more), -0.7 * (x + more)
        delta = softplus(1.2 * dt - 0.3)
        h = math.exp(-0.5 * delta) * h + delta * B * x
        outputs.append(2.0 * (C * h + 0.25 * x) * silu(gate))
    return outputs


@torch.no_grad()
def test_outputs_are_those_of_the_formula():
    inputs = [0.5, -1.0, 2.0, 0.3]
    output, _ = make_mixer()(torch.tensor(inputs).reshape(1, 4, 1))
    assert output.flatten().tolist() == pytest.approx(expected_outputs(inputs, [0.0] * 4), rel=1e-4)


@torch.no_grad()
def test_what_selects_is_added_where_step_size_B_and_C_are_read_and_nowhere_else():
    inputs, selecting = [0.5, -1.0, 2.0, 0.3], [0.3, 0.0, -0.2, 1.0]
    mixer = make_mixer()
    channels = mixer.channels(torch.tensor(inputs).reshape(1, 4, 1))
    y_BTE, _ = mixer.scan(channels, selecting_BTS=torch.tensor(selecting).reshape(1, 4, 1))
    output = mixer.out_proj(mixer.gated(y_BTE, channels))
    assert output.flatten().tolist() == pytest.approx(expected_outputs(inputs, selecting), rel=1e-4)


@torch.no_grad()
def test_fewer_channels_select_as_if_the_others_held_zeros():
    mixer = Mamba(4, expand=2, d_state=3, d_conv=2, dt_rank=1)
    mixer.reset_parameters(make_generator(0, "weights"))
    u_BTD, few_BTS = torch.randn(2, 2, 5, 4, generator=make_generator(1, "input"))
    channels = mixer.channels(u_BTD)
    all_BTE = torch.cat([few_BTS, torch.zeros(2, 5, 4)], dim=-1)
    few, many, none = (mixer.scan(channels, selecting_BTS=chosen)[0] for chosen in (few_BTS, all_BTE, None))
    torch.testing.assert_close(few, many)
    assert not torch.equal(few, none)


def test_step_sizes_at_birth_are_log_uniform_from_a_thousandth_to_a_tenth():
    step = F.softplus(draw_dt_bias(20_000, make_generator(0, "weights")))
    assert 1e-3 * 0.999 <= step.min() < 1.01e-3
    assert 0.99e-1 < step.max() <= 1e-1 * 1.001
    assert step.log10().mean().item() == pytest.approx(-2.0, abs=0.01)
    assert step.log10().std().item() == pytest.approx(2 / math.sqrt(12), rel=0.02)


@torch.no_grad()
def test_initial_values_are_the_published_ones():
    mixer = Mamba(64, expand=2, d_state=5, d_conv=4, dt_rank=4)
    mixer.reset_parameters(make_generator(0, "weights"))
    assert torch.allclose(mixer.A_log.exp(), torch.arange(1.0, 6.0).expand(128, 5))
    assert (mixer.D == 1).all()
    assert mixer.dt_proj.weight.abs().max() <= 0.5
    assert mixer.dt_proj.weight.std().item() == pytest.approx(0.5 / math.sqrt(3), rel=0.05)
    step = F.softplus(mixer.dt_proj.bias)
    assert 1e-3 * 0.999 <= step.min() < 2e-3
    assert 5e-2 < step.max() <= 1e-1 * 1.001
