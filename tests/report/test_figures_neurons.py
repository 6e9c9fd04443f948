"""Pictures of the neurons."""

import numpy as np
import pytest

from mambrane.measure.probe import BlockProbe, Probe
from mambrane.report.figures_neurons import raster_picture, rates_picture, silent_share


def test_silent_neurons_are_those_that_never_fired():
    assert silent_share(np.array([0.0, 0.1, 0.0, 1.0])) == 0.5


@pytest.fixture
def probe():
    spikes_TS = np.zeros((6, 4))
    spikes_TS[[0, 3, 5], [1, 1, 2]] = 1
    spiking = BlockProbe(spikes_TS, None, spikes_TS.mean(0), None, None)
    return Probe((spiking, BlockProbe(*[None] * 5)), tuple("abcdef"), np.ones(6), ticks_per_token=1, num_tokens=6)


def test_a_block_without_neurons_has_no_panel_and_no_row(probe):
    raster, rates = raster_picture(probe, [0, 1]).wide, rates_picture(probe).wide
    assert "block 1, first population" in raster
    assert "second population" not in raster
    assert "block 2" not in raster + rates
