"""Intervals, paired differences and Holm's correction, by numbers worked out elsewhere."""

import numpy as np
import pytest
from scipy import stats

from mambrane.studies.statistics import estimate, holm, paired_difference


def test_holm_multiplies_by_what_is_left_and_never_falls():
    # The example of the article on Wikipedia: 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([]) == []


def test_an_interval_holds_the_mean_in_about_as_many_samples_as_it_says():
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        found = estimate(draw.normal(3.0, 1.0, size=20).tolist())
        inside += found.low <= 3.0 <= found.high
    assert 85 <= inside <= 99


def test_the_pairing_takes_out_what_seeds_have_in_common():
    baseline = [1.0, 5.0, 9.0, 2.0, 7.0]
    better = [value - 0.5 - 0.01 * place for place, value in enumerate(baseline)]
    found = paired_difference(better, baseline)
    assert found.mean == pytest.approx(-0.52)
    assert -0.6 < found.low < found.high < -0.45
    assert found.p_value == pytest.approx(stats.ttest_rel(better, baseline).pvalue)


def test_one_seed_has_no_interval_and_equal_values_a_point():
    assert estimate([2.0])[:3] == (2.0, None, None)
    assert estimate([2.0, 2.0, 2.0])[:3] == (2.0, 2.0, 2.0)
    assert paired_difference([1.0], [2.0]).p_value is None
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p_value is None


def test_equal_values_give_equal_intervals_every_time():
    assert estimate([1.0, 2.0, 4.0, 3.0]) == estimate([1.0, 2.0, 4.0, 3.0])
