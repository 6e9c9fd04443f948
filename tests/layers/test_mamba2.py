"""Mamba version 2: published initial values, heads of equal width, extra B and C, a state that is a value."""

import math

import pytest
import torch
import torch.nn.functional as F

from mambrane.core.seeding import make_generator
from mambrane.layers import mamba2
from mambrane.layers.mamba2 import Mamba2, head_channels
from mambrane.models.initialisation import draw_default_weights

DIM, D_STATE = 32, 8


def make_mixer(*, expand=3, d_conv=4):
    mixer = Mamba2(DIM, expand=expand, d_state=D_STATE, d_conv=d_conv)
    generator = make_generator(0, "weights")
    draw_default_weights(mixer, generator)
    mixer.reset_parameters(generator)
    return mixer


def normal(*shape):
    return torch.randn(*shape, generator=make_generator(1, "inputs"))


@pytest.mark.parametrize(("expanded", "channels"), [(1024, 64), (64, 64), (96, 48), (40, 40), (134, 2), (127, 1)])
def test_a_head_has_64_channels_or_the_largest_divisor_below(expanded, channels):
    assert head_channels(expanded) == channels


def test_parameters_have_the_published_names_and_shapes():
    assert {name: tuple(parameter.shape) for name, parameter in make_mixer().named_parameters()} == {
        "in_proj.weight": (96 + (96 + 2 * 8) + 2, 32),
        "conv1d.weight": (96 + 2 * 8, 1, 4),
        "conv1d.bias": (96 + 2 * 8,),
        "dt_bias": (2,),
        "A_log": (2,),
        "D": (2,),
        "norm.weight": (96,),
        "out_proj.weight": (32, 96),
    }


def test_initial_values_are_the_published_ones():
    mixer = Mamba2(1024, expand=32, d_state=1, d_conv=2)
    mixer.reset_parameters(make_generator(0, "weights"))
    rate, step = mixer.A_log.detach().exp(), F.softplus(mixer.dt_bias.detach())
    assert 1.0 <= rate.min() < 1.2
    assert 15.8 < rate.max() <= 16.0001
    assert rate.mean().item() == pytest.approx(8.5, abs=0.5)
    assert 1e-3 * 0.999 <= step.min() < step.max() <= 1e-1 * 1.001
    assert step.log10().mean().item() == pytest.approx(-2.0, abs=0.1)
    assert (mixer.D == 1).all()
    assert (mixer.norm.weight == 1).all()


def test_rates_steps_and_skips_are_free_of_weight_decay():
    marked = {name for name, parameter in make_mixer().named_parameters() if vars(parameter).get("no_weight_decay")}
    assert marked == {"A_log", "D", "dt_bias"}


@pytest.mark.parametrize("d_conv", [1, 4])
@torch.no_grad()
def test_single_steps_give_the_numbers_of_the_whole(d_conv):
    mixer = make_mixer(d_conv=d_conv).double()
    u_BTD = normal(2, 70, DIM).double()
    resets_BT = torch.zeros(2, 70, dtype=torch.bool)
    resets_BT[0, 66] = True
    whole, last = mixer(u_BTD, resets_BT=resets_BT)
    _, state = mixer(u_BTD[:, :65], resets_BT=resets_BT[:, :65])
    for t in range(65, 70):
        y, state = mixer(u_BTD[:, t : t + 1], state=state, resets_BT=resets_BT[:, t : t + 1])
        assert torch.allclose(y[:, 0], whole[:, t], rtol=0, atol=1e-12)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state, last, strict=True))


@torch.no_grad()
def test_what_selects_moves_the_step_size_of_its_own_head():
    mixer = make_mixer()
    channels = mixer.channels(normal(2, 9, DIM))
    heads, per_head = mixer.A_log.numel(), mixer.head_channels
    selecting_BTS = torch.zeros(2, 9, per_head)
    selecting_BTS[:, 4, :2] = 0.5
    plain, none, moved = (
        mixer.scan(channels, selecting_BTS=chosen)[0].unflatten(-1, (heads, per_head))
        for chosen in (None, torch.zeros_like(selecting_BTS), selecting_BTS)
    )
    assert torch.equal(plain, none)
    changed = (moved != plain).any(dim=-1).any(dim=0)
    assert changed[:, 0].tolist() == [False] * 4 + [True] * 5
    assert not changed[:, 1:].any()


@torch.no_grad()
def test_bfloat16_autocast_keeps_the_state_in_float32():
    mixer = make_mixer()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = mixer(normal(2, 70, DIM))
    expected, _ = mixer(normal(2, 70, DIM))
    assert state.scan_BHPN.dtype == torch.float32
    assert torch.isfinite(y).all()
    assert (y.float() - expected).norm() < 0.02 * expected.norm()


def silu(x):
    return x / (1 + math.exp(-x))


@torch.no_grad()
def test_outputs_are_those_of_the_formula():
    """One head of two channels, one state, two taps, token by token on paper."""
    mixer = Mamba2(1, expand=2, d_state=1, d_conv=2)
    mixer.in_proj.weight.copy_(torch.tensor([[1.1], [-0.6], [0.9], [0.5], [0.7], [-0.8], [0.4]]))
    taps, conv_bias = [[0.4, 0.8], [-0.3, 0.9], [0.2, 0.6], [0.5, -0.7]], [0.1, 0.0, -0.2, 0.3]
    mixer.conv1d.weight.copy_(torch.tensor(taps).unsqueeze(1))
    mixer.conv1d.bias.copy_(torch.tensor(conv_bias))
    mixer.dt_bias.fill_(-0.3)
    mixer.A_log.fill_(math.log(2.0))
    mixer.D.fill_(0.25)
    mixer.norm.weight.copy_(torch.tensor([1.0, 3.0]))
    mixer.out_proj.weight.copy_(torch.tensor([[2.0, -1.0]]))
    inputs, selecting = [0.5, -1.0, 2.0], [[0.0, 0.0], [0.3, 0.1], [-0.4, 0.0]]
    h, before, expected = [0.0, 0.0], [0.0] * 4, []
    for u, more in zip(inputs, selecting, strict=True):
        gate, convolved = [1.1 * u, -0.6 * u], [0.9 * u, 0.5 * u, 0.7 * u, -0.8 * u]
        mixed = [
            silu(t[0] * old + t[1] * new + b) for t, old, new, b in zip(taps, before, convolved, conv_bias, strict=True)
        ]
        before, x, B, C = convolved, mixed[:2], mixed[2], mixed[3]
        delta = math.log1p(math.exp(0.4 * u + sum(more) - 0.3))
        h = [math.exp(-2.0 * delta) * old + delta * value * B for old, value in zip(h, x, strict=True)]
        y = [(C * state + 0.25 * value) * silu(g) for state, value, g in zip(h, x, gate, strict=True)]
        size = math.sqrt((y[0] ** 2 + y[1] ** 2) / 2 + 1e-5)
        expected.append((2.0 * y[0] - 3.0 * y[1]) / size)
    channels = mixer.channels(torch.tensor(inputs).reshape(1, 3, 1))
    y_BTE, _ = mixer.scan(channels, selecting_BTS=torch.tensor([selecting]))
    output = mixer.out_proj(mixer.gated(y_BTE, channels))
    assert output.flatten().tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_form_of_a_gpu_gives_the_numbers_of_the_cpu(groups, monkeypatch):
    """The skip inside the scan, and gate and norm in one."""
    mixer = Mamba2(8, expand=2, d_state=4, d_conv=4, head_dim=4, groups=groups).double()
    generator = make_generator(0, "weights")
    draw_default_weights(mixer, generator)
    mixer.reset_parameters(generator)
    with torch.no_grad():
        mixer.D.copy_(torch.randn(4, generator=generator))
    u_BTD, found = normal(2, 9, 8).double(), []
    for skips in (False, True):
        monkeypatch.setattr(mamba2, "_skips_in_scan", lambda _, skips=skips: skips)
        mixer.zero_grad()
        channels = mixer.channels(u_BTD)
        y_BTE, state = mixer.scan(channels)
        output = mixer.gated(y_BTE, channels)
        output.square().sum().backward()
        read = mixer.read(y_BTE, channels, 3, 10)
        assert not read.requires_grad
        found.append(
            [read, output, state, *(parameter.grad for parameter in mixer.parameters() if parameter.grad is not None)]
        )
    for of_cpu, of_gpu in zip(*found, strict=True):
        assert torch.allclose(of_cpu, of_gpu, rtol=1e-9, atol=1e-11)
