"""Neurons, tick by tick on paper, and how tokens become ticks."""

import math

import pytest
import torch

from mambrane.layers.spiking import SpikingPopulation, Ticks, firing_rate_per_tick

CURRENTS = [0.6, 0.6, 0.0, 0.9, 0.9, -0.5]


def expected(currents, taus, *, threshold=1.0, subtract=True):
    v, spikes, membranes = 0.0, [], []
    for current, tau in zip(currents, taus, strict=True):
        v = math.exp(-1 / tau) * v + current
        membranes.append(v)
        spikes.append(float(v >= threshold))
        if v >= threshold:
            v = v - threshold if subtract else 0.0
    return spikes, membranes, v


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@torch.no_grad()
def test_neurons_leak_by_their_time_constant_and_fire_at_the_threshold(reset):
    population = SpikingPopulation(1, tau_ticks=3.0, threshold=0.8, reset=reset, keep_membranes=True)
    output = population(torch.tensor(CURRENTS).reshape(1, 6, 1))
    spikes, membranes, last = expected(CURRENTS, [3.0] * 6, threshold=0.8, subtract=reset == "subtract")
    assert 1 < sum(spikes) < 6
    assert output.spikes_BTS.flatten().tolist() == spikes
    assert output.membrane_BTS.flatten().tolist() == pytest.approx(membranes, abs=1e-6)
    assert output.state_BS.item() == pytest.approx(last, abs=1e-6)


@torch.no_grad()
def test_neurons_are_born_with_a_time_constant_of_four_ticks_and_a_threshold_of_one():
    population = SpikingPopulation(1, keep_membranes=True)
    output = population(torch.tensor(CURRENTS).reshape(1, 6, 1))
    assert output.membrane_BTS.flatten().tolist() == pytest.approx(expected(CURRENTS, [4.0] * 6)[1], abs=1e-6)


@torch.no_grad()
def test_what_steers_a_population_moves_its_time_constant_tick_by_tick():
    heard = [0.0, -9.0, 9.0, 1.0, -0.5, 0.3]
    population = SpikingPopulation(1, tau_ticks=3.0, keep_membranes=True)
    decay_BTS = population.steered_decay(torch.tensor(heard).reshape(1, 6, 1), torch.tensor([2.0]))
    output = population(torch.tensor(CURRENTS).reshape(1, 6, 1), decay_BTS=decay_BTS)
    spikes, membranes, _ = expected(CURRENTS, [3.0 * (0.5 + 1 / (1 + math.exp(-2.0 * number))) for number in heard])
    assert output.membrane_BTS.flatten().tolist() == pytest.approx(membranes, abs=1e-6)
    assert output.spikes_BTS.flatten().tolist() == spikes


def test_ticks_repeat_tokens_and_gather_them_again():
    ticks, x = Ticks(3), torch.tensor([[[1.0], [2.0]]])
    assert ticks.spread(x).flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert ticks.spread_resets(torch.tensor([[True, False]])).flatten().tolist() == [True] + [False] * 5
    many = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0]).reshape(1, 6, 1)
    assert ticks.mean(many).flatten().tolist() == [3, 1]
    assert ticks.last(many).flatten().tolist() == [6, 3]


def test_the_firing_rate_is_spikes_over_neurons_and_ticks():
    assert firing_rate_per_tick(torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])).item() == 0.75
