"""Histograms of weights."""

import pytest
import torch

from mambrane.measure.distributions import BINS, histogram_of, weight_histograms


def test_every_finite_value_is_counted_once_between_the_lowest_and_the_highest():
    values = torch.linspace(-2.0, 6.0, 1001)
    histogram = histogram_of(torch.cat([values, torch.tensor([float("nan"), float("inf")])]))
    assert (histogram.low, histogram.high) == (-2.0, 6.0)
    assert sum(histogram.counts) == 1001
    assert len(histogram.counts) == BINS


def test_equal_values_stand_in_one_bin():
    histogram = histogram_of(torch.full((7,), 1e9))
    assert (histogram.low, histogram.counts[0], sum(histogram.counts)) == (1e9, 7, 7)


@pytest.mark.parametrize("values", [torch.empty(0), torch.tensor([float("nan")])])
def test_of_nothing_finite_there_is_none(values):
    assert histogram_of(values) is None


def test_each_parameter_of_a_model_has_one_by_its_name():
    assert list(weight_histograms(torch.nn.Linear(3, 2))) == ["weight", "bias"]
