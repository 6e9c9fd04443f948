"""The kernels that a run compiles ahead are those that its parts name."""

import pytest

from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.kernels import operations_of
from mambrane.settings.config import RunConfig


@pytest.mark.parametrize(
    ("setting", "operations"), [("use_stdp", {"spike_pairs", "causal_trace"}), ("use_meta_plasticity", {"update_gate"})]
)
def test_a_rule_adds_the_operations_that_it_calls(setting, operations):
    model = ModelConfig(spike_to_mamba_method="rate")
    without = operations_of(RunConfig(model=model))
    with_rule = operations_of(RunConfig(model=model, plasticity=PlasticityConfig(**{setting: True})))
    assert not operations & set(without)
    assert set(with_rule) == set(without) | operations
    assert len(with_rule) == len(set(with_rule))
