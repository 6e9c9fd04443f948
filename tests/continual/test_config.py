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


def test_late_replay_of_more_than_half_which_no_micro_batch_could_hold_at_the_end_is_refused():
    late = {"continual_learning": True, "use_replay": True, "replay_timing": "late"}
    with pytest.raises(UserError, match=r"--replay-timing late with --replay-fraction 0\.75"):
        ContinualConfig(**late, replay_fraction=0.75)
    assert ContinualConfig(**late, replay_fraction=0.5).use_replay
    assert ContinualConfig(**late | {"use_replay": False}, replay_fraction=0.75).replay_fraction == 0.75
