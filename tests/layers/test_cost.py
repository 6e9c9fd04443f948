"""Costs add up by hand."""

from torch import nn

from mambrane.layers.cost import ComponentCost, macs, num_parameters


def test_a_multiply_accumulate_is_two_operations_whatever_it_reads():
    cost = ComponentCost(name="a", dense_macs_per_token=3.0, spike_macs_per_token=4.0, state_updates_per_token=5.0)
    assert cost.flops_per_token == 24.0


def test_the_sum_of_two_costs_has_the_name_of_the_first_and_every_number_of_both():
    one = ComponentCost(name="a", parameters=1, state_numbers=2, synaptic_operations_per_token=0.5)
    other = ComponentCost(name="b", parameters=10, state_numbers=20, synaptic_operations_per_token=0.25)
    both = one + other
    assert (both.name, both.parameters, both.state_numbers, both.synaptic_operations_per_token) == ("a", 11, 22, 0.75)


def test_products_and_parameters_of_layers_by_hand():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2, bias=False)
    assert macs(first, second) == 3 * 4 + 4 * 2
    assert num_parameters(first, second) == 3 * 4 + 4 + 4 * 2
