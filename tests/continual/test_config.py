"""Settings of continual learning: what lacks its ground is refused by its flag."""

import pytest

from mambrane.continual.config import ContinualConfig
from mambrane.core.errors import UserError


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"use_replay": True}, "--use-replay"),
        ({"regularizer_strength": 0.5}, "--regularizer-strength"),
        ({"distillation_strength": 0.5}, "--distillation-strength"),
    ],
)
def test_what_keeps_earlier_tasks_needs_tasks(setting, flag):
    with pytest.raises(UserError, match=f"^{flag} without --continual-learning"):
        ContinualConfig(**setting)
    assert ContinualConfig(**setting, continual_learning=True).continual_learning


@pytest.mark.parametrize("setting", [{"num_tasks": 0}, {"replay_fraction": 1.0}, {"regularizer_decay": 1.5}])
def test_a_number_out_of_its_bounds_is_refused_by_its_flag(setting):
    with pytest.raises(UserError, match=next(iter(setting)).replace("_", "[_-]")):
        ContinualConfig(**setting)
