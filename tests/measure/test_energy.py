"""Energy by counting."""

import pytest

from mambrane.core.seeding import make_generator
from mambrane.layers.cost import ComponentCost, FiringRates
from mambrane.measure.energy import estimate_energy
from mambrane.models.config import ModelConfig
from mambrane.models.cost import count_costs
from mambrane.models.language_model import LanguageModel


def spiking_part(rate):
    return ComponentCost(
        name="plastic synapse",
        parameters=100,
        dense_macs_per_token=0.0,
        spike_macs_per_token=100.0,
        synaptic_operations_per_token=100.0 * rate,
        state_updates_per_token=10.0,
    )


def test_a_spike_costs_an_addition_and_silence_nothing():
    part = estimate_energy([spiking_part(rate=0.2)]).components[0]
    assert part.as_built_pj == pytest.approx(4.6 * 110)
    assert part.event_driven_pj == pytest.approx(0.9 * 20 + 4.6 * 10)


def test_the_published_example_comes_out():
    # 275.2 G MAC cost 1.266 J; the same work as 72.66 G additions costs 65.4 mJ (SpikingSSM's own figures).
    dense = ComponentCost(name="dense", parameters=0, dense_macs_per_token=275.2e9)
    spiking = ComponentCost(
        name="spikes",
        parameters=0,
        dense_macs_per_token=0.0,
        spike_macs_per_token=275.2e9,
        synaptic_operations_per_token=72.66e9,
    )
    estimate = estimate_energy([dense, spiking])
    assert estimate.components[0].event_driven_pj * 1e-12 == pytest.approx(1.266, abs=1e-3)
    assert estimate.components[1].event_driven_pj * 1e-12 == pytest.approx(65.4e-3, abs=1e-4)
    assert estimate.spike_share == pytest.approx(0.5)


def test_int8_beats_spikes_above_a_rate_of_26_percent():
    def spikes_minus_int8(rate):
        part = estimate_energy([spiking_part(rate)]).components[0]
        return part.event_driven_pj - part.int8_pj

    assert spikes_minus_int8(0.25) < 0 < spikes_minus_int8(0.26)


def test_the_whole_model_is_the_sum_of_its_parts_and_holds_the_head():
    config = ModelConfig(hidden_dim=16, num_layers=2, spiking_units=8, use_mamba=True, num_gate_heads=2)
    model = LanguageModel(config, 31, make_generator(0, "weights"))
    estimate = estimate_energy(count_costs(model, [FiringRates(0.1, 0.05), FiringRates(0.2, 0.1)]))
    assert "embedding and head" in [part.name for part in estimate.components]
    assert estimate.total.as_built_pj == pytest.approx(sum(part.as_built_pj for part in estimate.components))
    assert 0 < estimate.event_driven_saving < estimate.spike_share


def test_with_every_neuron_firing_always_only_the_multiplications_are_saved():
    config = ModelConfig(hidden_dim=16, num_layers=1, spiking_units=8)
    model = LanguageModel(config, 31, make_generator(0, "weights"))
    estimate = estimate_energy(count_costs(model))
    spike_macs = 8 * 8 + 8 * 16
    saved_pj = estimate.total.as_built_pj - estimate.total.event_driven_pj
    assert saved_pj == pytest.approx(spike_macs * (4.6 - 0.9))
