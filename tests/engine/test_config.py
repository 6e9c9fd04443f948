"""Settings of the engine."""

import pytest

from mambrane.core.errors import UserError
from mambrane.engine.config import EngineConfig


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_half_precision_without_mixed_precision_is_refused_and_full_precision_is_not(precision):
    with pytest.raises(UserError, match=f"--no-mixed-precision with --precision {precision}"):
        EngineConfig(mixed_precision=False, precision=precision)
    assert EngineConfig(mixed_precision=False, precision="fp32").precision == "fp32"


@pytest.mark.parametrize("setting", [{"accumulation_steps": 0}, {"learning_rate": 0.0}, {"keep_checkpoints": 1}])
def test_a_number_out_of_its_bounds_is_refused_by_its_flag(setting):
    with pytest.raises(UserError, match=f"--{next(iter(setting)).replace('_', '-')}"):
        EngineConfig(**setting)
