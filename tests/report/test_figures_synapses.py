"""Pictures of synapses and time constants: what they say and the numbers behind them."""

import numpy as np
import pytest

from mambrane.plasticity.windows import Window
from mambrane.report.figures_synapses import (
    importance_picture,
    plastic_synapses,
    spread_of,
    time_constants_picture,
    weights_picture,
    window_picture,
)

NARROW = {"low": -0.5, "high": 0.5, "counts": [0, 4, 4, 0]}
WIDE = {"low": -1.0, "high": 1.0, "counts": [4, 0, 0, 4]}


def synapse(number):
    return f"blocks.{number}.plastic.weight"


def test_the_spread_of_a_histogram_is_that_of_its_values():
    values = np.random.default_rng(0).normal(0.0, 0.3, 100_000)
    counts, edges = np.histogram(values, 64)
    histogram = {"low": edges[0], "high": edges[-1], "counts": counts.tolist()}
    assert spread_of(histogram) == pytest.approx(0.3, rel=0.02)


def test_of_many_synapses_the_first_and_the_last_are_shown_in_their_order():
    names = plastic_synapses({synapse(number): NARROW for number in range(12)} | {"norm.weight": NARROW})
    assert names == [synapse(0), synapse(1), synapse(2), synapse(11)]


def test_weights_before_and_now_say_how_the_spread_changed_and_hold_every_bin():
    pictured = weights_picture({synapse(0): NARROW}, {synapse(0): WIDE, synapse(1): WIDE})
    assert "block 1: spread 0.125 before, 0.750 now" in pictured.wide
    assert len(pictured.numbers.rows) == 8
    assert (1, "now", -1.0, -0.5, 4) in pictured.numbers.rows


def test_time_constants_say_their_mean_and_where_they_began():
    pictured = time_constants_picture({"block 1, first": np.array([2.0, 4.0])}, 4.0, "tokens")
    assert "block 1, first: mean 3.00. All began at 4.00." in pictured.wide
    assert pictured.numbers.rows == [("block 1, first", 2.0), ("block 1, first", 4.0)]


def test_the_window_says_where_it_is_highest_and_lowest():
    window = Window(np.array([-2.0, -1.0, 0.0, 1.0]), np.array([-0.1, -0.3, 1.0, 0.5]), "lag, tokens", "pair")
    assert "highest 1 at 0, lowest -0.3 at -1" in window_picture(window).wide


def test_importance_names_the_layer_that_matters_most():
    pictured = importance_picture({"embedding": 0.1, "block 1": 0.7}, "share held")
    assert "share held, by layer: highest in block 1 (0.7)" in pictured.wide
