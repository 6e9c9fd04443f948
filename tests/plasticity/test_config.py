"""Settings of plasticity."""

import pytest

from mambrane.core.errors import UserError
from mambrane.core.needs import unmet_needs
from mambrane.plasticity.config import PlasticityConfig
from mambrane.settings.config import RunConfig


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_target_rate_of_never_or_always_is_refused(rate):
    with pytest.raises(UserError, match="--stdp-target-rate"):
        PlasticityConfig(stdp_target_rate=rate)


def test_a_rate_of_importance_above_one_is_refused_by_its_flag():
    with pytest.raises(UserError, match="--meta-lr"):
        PlasticityConfig(meta_lr=2.0)


@pytest.mark.parametrize(("rule", "is_read"), [("homeostatic", True), ("triplet", True), ("bcm", True)])
def test_the_target_rate_is_read_by_every_rule_but_the_classical_one(rule, is_read):
    def unmet(rule):
        config = RunConfig(plasticity=PlasticityConfig(use_stdp=True, stdp_type=rule))
        return "stdp_target_rate" in {name for _, name, _ in unmet_needs(config)}

    assert unmet("classical")
    assert unmet(rule) is not is_read
