"""What a task behind a finished run has where no flag says otherwise."""

from dataclasses import replace

import pytest

from mambrane.settings.later_task import LATER_TASK, recipe_of, usual_epochs
from tests.settings.whole_recipe import whole_recipe

WHOLE = {
    "engine.learning_rate": LATER_TASK.learning_rate_factor * whole_recipe().engine.learning_rate,
    "continual.replay_fraction": LATER_TASK.replay_fraction,
    "plasticity.use_meta_plasticity": False,
}


def run_with(section: str = "continual", **settings):
    config = whole_recipe()
    return replace(config, **{section: replace(getattr(config, section), **settings)})


def test_the_recipe_is_relative_to_what_the_run_began_with():
    recipe = recipe_of(whole_recipe(), {})
    assert recipe.settings == WHOLE
    assert recipe.num_epochs == LATER_TASK.epochs_factor * 6
    assert recipe_of(run_with("run", epochs=50), {}).num_epochs == LATER_TASK.epochs_factor * 10
    assert recipe_of(run_with("engine", learning_rate=1e-3), {}).settings["engine.learning_rate"] == (
        LATER_TASK.learning_rate_factor * 1e-3
    )


@pytest.mark.parametrize("name", WHOLE)
def test_a_flag_wins_at_whatever_value_and_leaves_the_rest(name):
    asked = {name: getattr(getattr(whole_recipe(), name.split(".")[0]), name.split(".")[1])}
    assert recipe_of(whole_recipe(), asked).settings == {other: WHOLE[other] for other in WHOLE if other != name}


def test_what_the_run_has_already_is_no_part_of_it():
    assert "continual.replay_fraction" not in recipe_of(run_with(replay_fraction=0.9), {}).settings
    assert (
        "plasticity.use_meta_plasticity"
        not in recipe_of(run_with("plasticity", use_meta_plasticity=False), {}).settings
    )


@pytest.mark.parametrize(
    ("began", "asked", "is_told"),
    [
        (run_with(use_replay=False), {}, True),
        (run_with(use_replay=False), {"continual.use_replay": True}, True),
        (whole_recipe(), {"continual.use_replay": False}, False),
        (run_with(use_replay=False, regularizer_strength=1.0), {}, False),
        (run_with(use_replay=False), {"continual.distillation_strength": 1.0}, False),
        (run_with(use_replay=False, regularizer_strength=0.0), {"continual.regularizer_strength": 1.0}, True),
    ],
    ids=["no memory", "memory from now on", "switched off", "a penalty", "a teacher", "a penalty from now on"],
)
def test_without_anything_to_replay_a_task_is_as_the_run_began_and_a_missing_memory_is_told(began, asked, is_told):
    recipe = recipe_of(began, asked)
    assert (recipe.num_epochs, recipe.settings) == (6, {})
    assert recipe.lacks_memory is is_told


def test_text_that_the_model_writes_stands_for_a_memory():
    asked = {"continual.use_replay": True, "continual.replay_source": "generated"}
    assert recipe_of(run_with(use_replay=False), asked).settings == WHOLE


def test_a_task_has_its_share_of_the_epochs_and_one_over_everything_has_all():
    assert usual_epochs(whole_recipe()) == 6
    continual = replace(whole_recipe().continual, continual_learning=False, use_replay=False)
    plasticity = replace(whole_recipe().plasticity, use_meta_plasticity=False)
    assert usual_epochs(replace(whole_recipe(), continual=continual, plasticity=plasticity)) == 30
