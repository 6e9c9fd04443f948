"""The section on synapses: what the log and the model have, and nothing where they have nothing."""

import math

import numpy as np
import pytest

from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.windows import window_of
from mambrane.report.data import Importance, ReportData
from mambrane.report.synapses import synapses
from mambrane.watch.history import read_history
from tests.watch.shown import step_event

HISTOGRAM = {"low": -1.0, "high": 1.0, "counts": [1, 2, 3]}
PLASTIC = "blocks.0.plastic.weight"


def data_of(*events, **fields):
    return ReportData(title="", history=read_history(events), config={}, **fields)


def measured(step, **histograms):
    return {"event": "weights_measured", "step": step, "weights": histograms or {PLASTIC: HISTOGRAM}}


def test_a_run_without_any_of_it_has_no_section():
    assert synapses(data_of(step_event(1))) == ""


def test_weights_are_shown_once_there_are_two_measurements_of_a_plastic_synapse():
    assert synapses(data_of(measured(0))) == ""
    assert "after step 7" in synapses(data_of(measured(0), step_event(7), measured(7)))
    assert synapses(data_of(measured(0, norm=HISTOGRAM), step_event(7), measured(7, norm=HISTOGRAM))) == ""


def test_what_is_beyond_a_resume_does_not_count():
    taken_back = [measured(0), step_event(7), measured(7), {"event": "resumed", "step": 3}]
    assert synapses(data_of(*taken_back)) == ""


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {PLASTIC: None},
        {PLASTIC: {"low": "a", "high": 1, "counts": [1]}},
        {PLASTIC: {**HISTOGRAM, "counts": []}},
    ],
)
def test_a_damaged_measurement_is_left_out(damage):
    event = {"event": "weights_measured", "step": 7, "weights": damage}
    assert synapses(data_of(measured(0), step_event(7), event)) == ""


def test_time_constants_window_and_importance_have_their_pictures():
    start = measured(0, **{"blocks.0.first.log_tau": {"low": math.log(4), "high": math.log(4), "counts": [2, 0]}})
    html = synapses(
        data_of(
            start,
            time_constants={"block 1, first": np.array([3.0, 5.0])},
            window=window_of(PlasticityConfig(use_stdp=True)),
            importance=Importance("share held", {"block 1": 0.5}, "What is held."),
        )
    )
    assert "All began at 4.00." in html
    assert html.count("<figure>") == 3
    assert "right of zero" in html
    assert "What is held." in html
