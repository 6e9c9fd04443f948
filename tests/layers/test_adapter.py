"""Three codes of spikes, each against numbers worked out by hand."""

import math

import pytest
import torch

from mambrane.layers.adapter import SpikeAdapter
from mambrane.layers.spiking import Ticks
from mambrane.ops.lif import LifOutput


def make_adapter(method, *, units=1, dim=1, tau=20.0, ticks=1):
    adapter = SpikeAdapter(units, dim, method=method, temporal_tau_tokens=tau, ticks=Ticks(ticks))
    with torch.no_grad():
        adapter.projection.weight.fill_(1.0)
    return adapter


def population(spikes, membranes=None):
    """Return a population of one unit (or more, as columns) with these spikes, a row for each tick."""
    spikes_BTS = torch.tensor(spikes).reshape(1, len(spikes), -1)
    membrane_BTS = None if membranes is None else torch.tensor(membranes).reshape(1, len(membranes), -1)
    return LifOutput(spikes_BTS, membrane_BTS, spikes_BTS[:, -1])


@torch.no_grad()
def test_the_rate_is_the_mean_of_the_last_ten_tokens():
    code, _ = make_adapter("rate")(population([1.0, 0.0, 1.0] + [0.0] * 9))
    expected = [0.1, 0.1] + [0.2] * 8 + [0.1, 0.1]
    assert code.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_the_rate_of_several_ticks_is_that_of_their_mean():
    code, _ = make_adapter("rate", ticks=2)(population([1.0, 0.0, 1.0, 1.0]))
    assert code.flatten().tolist() == pytest.approx([0.05, 0.15], abs=1e-6)


@torch.no_grad()
def test_the_trace_of_a_spike_fades_with_its_time_constant_in_tokens():
    code, _ = make_adapter("temporal", tau=5.0)(population([1.0, 0.0, 0.0, 1.0]))
    kept = math.exp(-1 / 5)
    expected = [1 - kept, (1 - kept) * kept, (1 - kept) * kept**2, (1 - kept) * (kept**3 + 1)]
    assert code.flatten().tolist() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_the_time_constant_is_in_tokens_however_many_ticks_a_token_has():
    code, _ = make_adapter("temporal", tau=5.0, ticks=4)(population([1.0] + [0.0] * 7))
    kept = math.exp(-1 / 20)
    assert code.flatten().tolist() == pytest.approx([(1 - kept) * kept**3, (1 - kept) * kept**7], rel=1e-5)
    assert (code[0, 1] / code[0, 0]).item() == pytest.approx(math.exp(-1 / 5), rel=1e-5)


@torch.no_grad()
def test_the_potential_is_the_membrane_over_its_root_mean_square():
    adapter = make_adapter("potential", units=2, dim=1)
    adapter.projection.weight.copy_(torch.tensor([[1.0, 10.0]]))
    code, state = adapter(population([[0.0, 0.0]] * 2, [[3.0, 4.0], [-0.5, 0.0]]))
    first = (3 + 10 * 4) / math.sqrt((9 + 16) / 2)
    second = -0.5 / math.sqrt(0.25 / 2)
    assert code.flatten().tolist() == pytest.approx([first, second], rel=1e-4)
    assert state is None
