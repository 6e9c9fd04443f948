"""Windows of the rules, from their own code."""

import numpy as np
import pytest

from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.windows import window_of


def window(**settings):
    return window_of(PlasticityConfig(use_stdp=True, **settings))


@pytest.mark.parametrize("kind", ["classical", "homeostatic"])
def test_the_pair_window_falls_off_with_the_time_constants_of_the_run(kind):
    made = window(stdp_type=kind, stdp_tau_plus=10.0, stdp_tau_minus=30.0)
    after = made.x >= 0
    np.testing.assert_allclose(made.y[after], np.exp(-made.x[after] / 10.0), atol=1e-6)
    ratio = made.y[~after] / np.exp(made.x[~after] / 30.0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-2)
    assert ratio[0] < 0


def test_the_triplet_rule_strengthens_after_and_weakens_before():
    made = window(stdp_type="triplet")
    assert made.y[made.x > 0][0] > 0 > made.y[made.x < 0][-1]


def test_bcm_changes_sign_at_the_target_rate():
    made = window(stdp_type="bcm", stdp_target_rate=0.1)
    assert made.y[made.x < 0.06].max() < 0 < made.y[made.x > 0.2].min()
