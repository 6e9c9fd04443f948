"""Which settings a later task may have of its own."""

from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.settings.config import flat
from mambrane.settings.presets import tiny
from mambrane.settings.task_settings import dotted, for_learning, may_change, own_settings, with_settings


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("engine.learning_rate", True),
        ("run.epochs", True),
        ("model.hidden_dim", False),
        ("run.seed", False),
        ("continual.num_tasks", False),
        ("continual.replay_fraction", True),
        ("data.tokenizer", False),
    ],
)
def test_training_may_change_and_the_model_and_its_identity_may_not(name, changes):
    assert may_change(name) is changes
    assert dotted(name.partition(".")[2]) == name


def test_a_name_that_is_no_setting_is_refused():
    with pytest.raises(UserError, match="no setting 'learning_rat'"):
        dotted("learning_rat")


def test_settings_by_dotted_name_are_taken_and_found_again():
    config = with_settings(tiny(), {"engine.learning_rate": 0.5, "data.data": ("a", "b")})
    assert config.engine.learning_rate == 0.5
    assert flat(config)["data.data"] == ["a", "b"]
    # Where the text lies is not what is learned.
    assert own_settings(tiny(), config) == {"engine.learning_rate": 0.5}


def test_what_cannot_change_is_refused_with_both_values_and_the_same_value_is_not():
    with pytest.raises(UserError, match=r"model\.hidden_dim: 128 -> 64"):
        for_learning(tiny(), {"model.hidden_dim": 64})
    with pytest.raises(UserError, match=r"engine\.ema_decay"):
        for_learning(tiny(), {"engine.ema_decay": 0.9})
    assert for_learning(tiny(), {"model.hidden_dim": tiny().model.hidden_dim}).model == tiny().model


def test_a_run_that_began_with_everything_at_once_has_earlier_tasks_now():
    began = tiny()
    began = replace(
        began,
        continual=replace(began.continual, continual_learning=False, use_replay=False),
        plasticity=replace(began.plasticity, use_meta_plasticity=False),
    )
    config = for_learning(began, {"run.epochs": 1})
    assert config.has_earlier_tasks
    assert config.run.max_steps == 0
