"""`mambrane info RUN`: parts with their cost, switches, and what was learned."""

from mambrane.app.cli import main
from mambrane.app.info import last_firing_rates, parts_table
from mambrane.core.events import read_events
from mambrane.layers.cost import ComponentCost
from mambrane.run.saved import open_run


def test_parts_add_up_to_the_total():
    costs = [
        ComponentCost(name="first", parameters=10, dense_macs_per_token=3.0, state_updates_per_token=1.0),
        ComponentCost(name="second", parameters=1000, spike_macs_per_token=5.0, synaptic_operations_per_token=2.0),
    ]
    table = parts_table(costs, "title")
    assert [column.footer for column in table.columns] == ["total", "1,010", "18", "5", "2"]
    assert list(table.columns[2].cells) == ["8", "10"]


def test_a_run_shows_its_model_its_switches_and_its_matrix(run_folder, capsys):
    assert main(["info", str(run_folder)]) == 0
    printed = capsys.readouterr().out
    for words in ("on:", "STDP", "Mamba", "parameters", "firing rates of the last step", "forgetting matrix"):
        assert words in printed, words


def test_firing_rates_are_those_of_the_last_applied_step(run_folder):
    saved = open_run(run_folder)
    (rates,) = last_firing_rates(saved, read_events(saved.folder.events_file))
    assert 0.0 <= rates.first <= 1.0
    assert 0.0 <= rates.second <= 1.0
