"""Liquid cells of one unit, token by token on paper; time constants stretch the time that passes."""

import math

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.layers.liquid import LiquidPopulation


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def cfc_token(x, h, elapsed):
    """Return the next state of the CfC cell below."""
    a = 1.7159 * math.tanh(0.666 * (0.8 * x - 0.5 * h + 0.1))
    s = sigmoid((1.1 * a + 0.3) * elapsed + (0.4 * a - 0.2))
    return (1 - s) * math.tanh(0.9 * a + 0.05) + s * math.tanh(-0.7 * a + 0.6)


def make_cfc():
    population = LiquidPopulation(1, kind="cfc")
    values = {"ff1": (0.9, 0.05), "ff2": (-0.7, 0.6), "time_a": (1.1, 0.3), "time_b": (0.4, -0.2)}
    with torch.no_grad():
        population.cell.backbone.weight.copy_(torch.tensor([[0.8, -0.5]]))
        population.cell.backbone.bias.fill_(0.1)
        for name, (weight, bias) in values.items():
            getattr(population.cell, name).weight.fill_(weight)
            getattr(population.cell, name).bias.fill_(bias)
    return population


def inverse_softplus(y):
    return math.log(math.expm1(y))


LTC = {
    "input_weight": 2.0,
    "input_bias": 0.1,
    "sensory_w": 0.7,
    "sensory_mu": 0.4,
    "sensory_sigma": 3.0,
    "sensory_erev": 1.0,
    "w": 0.5,
    "mu": 0.3,
    "sigma": 4.0,
    "erev": -1.0,
    "cm": 0.6,
    "gleak": 0.2,
    "vleak": 0.15,
}


def ltc_token(x, v, elapsed):
    """Return the next state of the LTC cell above."""
    d = elapsed / 6
    sensory = LTC["sensory_w"] * sigmoid(LTC["sensory_sigma"] * (2.0 * x + 0.1 - LTC["sensory_mu"]))
    for _ in range(6):
        inner = LTC["w"] * sigmoid(LTC["sigma"] * (v - LTC["mu"]))
        pull = LTC["gleak"] * LTC["vleak"] + sensory * LTC["sensory_erev"] + inner * LTC["erev"]
        v = (LTC["cm"] * v + d * pull) / (LTC["cm"] + d * (LTC["gleak"] + sensory + inner))
    return v


def make_ltc():
    population = LiquidPopulation(1, kind="ltc")
    with torch.no_grad():
        for name, value in LTC.items():
            is_softplus = name in ("sensory_w", "w", "cm", "gleak")
            getattr(population.cell, name).fill_(inverse_softplus(value) if is_softplus else value)
    return population


CELLS = pytest.mark.parametrize(("make", "token"), [(make_cfc, cfc_token), (make_ltc, ltc_token)], ids=["cfc", "ltc"])
INPUTS = [0.5, -1.0, 0.25]


@CELLS
@torch.no_grad()
def test_states_are_those_of_the_formula(make, token):
    output = make()(torch.tensor(INPUTS).reshape(1, 3, 1))
    h, expected = 0.0, []
    for x in INPUTS:
        h = token(x, h, 1.0)
        expected.append(h)
    assert output.hidden_BTL.flatten().tolist() == pytest.approx(expected, abs=1e-5)
    assert output.state_BL.item() == pytest.approx(expected[-1], abs=1e-5)


@CELLS
@torch.no_grad()
def test_a_time_constant_twice_as_long_halves_the_time_that_passes(make, token):
    scales = [2.0, 0.5, 1.5]
    output = make()(torch.tensor(INPUTS).reshape(1, 3, 1), time_scale_BTS=torch.tensor(scales).reshape(1, 3, 1))
    h, expected = 0.0, []
    for x, scale in zip(INPUTS, scales, strict=True):
        h = token(x, h, 1 / scale)
        expected.append(h)
    assert output.hidden_BTL.flatten().tolist() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_a_cfc_cell_is_born_with_xavier_weights_and_no_bias():
    cell = LiquidPopulation(40, kind="cfc").cell
    cell.reset_parameters(make_generator(0, "weights"))
    assert cell.backbone.weight.abs().max() <= math.sqrt(6 / 120)
    assert cell.backbone.weight.std().item() == pytest.approx(math.sqrt(2 / 120), rel=0.05)
    assert cell.ff1.weight.std().item() == pytest.approx(math.sqrt(2 / 80), rel=0.05)
    assert not any(layer.bias.any() for layer in cell.children())


@torch.no_grad()
def test_an_ltc_cell_is_born_in_the_published_ranges():
    cell = LiquidPopulation(40, kind="ltc").cell
    cell.reset_parameters(make_generator(0, "weights"))
    for name, low, high in (("sensory_mu", 0.3, 0.8), ("sigma", 3.0, 8.0), ("vleak", -0.2, 0.2)):
        parameter = getattr(cell, name)
        assert low <= parameter.min() < parameter.max() <= high, name
        assert parameter.mean().item() == pytest.approx((low + high) / 2, abs=0.2 * (high - low)), name
    for name, low, high in (("w", 0.001, 1.0), ("cm", 0.4, 0.6), ("gleak", 0.001, 1.0)):
        positive = getattr(cell, name).exp().log1p()
        assert low * 0.99 <= positive.min() < positive.max() <= high * 1.01, name
    assert set(cell.erev.flatten().tolist()) == {-1.0, 1.0}
