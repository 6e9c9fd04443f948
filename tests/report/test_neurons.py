"""The sections on the model at work say plainly what is not there."""

import pytest

from mambrane.report import neurons
from mambrane.report.data import ReportData, Sample
from mambrane.watch.history import read_history
from tests.watch.shown import step_event, task_started


def data_of(numbers=None, shown_numbers=(), **fields):
    started = {"time_s": 1.0, "event": "run_started", "shown_numbers": list(shown_numbers)}
    events = [started, task_started(), *(step_event(step, numbers=numbers or {}) for step in (1, 2))]
    return ReportData(title="", history=read_history(events), config={}, **fields)


@pytest.mark.parametrize("section", [neurons.neurons, neurons.paths, neurons.samples, neurons.energy])
def test_what_was_not_measured_is_left_out(section):
    assert section(data_of()) == ""


def test_a_rule_that_was_off_is_said_and_one_at_work_is_drawn_under_its_own_title():
    title = [{"name": "stdp/mean_change", "title": "STDP: mean change of a synapse"}]
    html = neurons.plasticity(data_of({"stdp/mean_change": 0.1}, title))
    assert "Meta-plasticity was not at work in this run." in html
    assert "STDP was not at work" not in html
    assert "STDP: mean change of a synapse" in html


def test_numbers_of_a_method_from_outside_are_drawn_under_its_title_or_its_name():
    html = neurons.extensions(data_of({"oja/mean_change": 0.1}))
    assert "oja: mean change" in html
    titled = [{"name": "oja/mean_change", "title": "how much Oja changed"}]
    assert "how much Oja changed" in neurons.extensions(data_of({"oja/mean_change": 0.1}, titled))
    assert neurons.extensions(data_of({"activity/firing_rate": 0.1})) == ""


def test_a_sample_shows_what_was_given_and_what_was_written():
    html = neurons.samples(data_of(samples=(Sample("given", " written", "seed 0", "prose"),)))
    assert "<span>given</span> written" in html
    assert "seed 0" in html
