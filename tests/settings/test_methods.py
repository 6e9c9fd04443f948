"""Which methods a run has, in which order, and which numbers they show."""

from dataclasses import replace

import pytest
import torch

from mambrane.continual.image_augmentation import ImageAugmentation
from mambrane.engine.extensions import TakeUpView
from mambrane.engine.method import Method
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import METHODS, build_extensions, methods_of, shown_numbers
from tests.data.idx import write_images
from tests.settings.whole_recipe import whole_recipe


def test_a_plain_run_is_watched_and_nothing_else():
    assert [method.name for method in methods_of(RunConfig())] == ["activity"]


def test_the_recipe_has_its_methods_in_the_order_in_which_they_act():
    assert [method.name for method in methods_of(whole_recipe())] == ["stdp", "meta_plasticity", "replay", "activity"]


def test_every_method_has_a_name_of_its_own_and_numbers_with_titles():
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert all(number.title for method in METHODS for number in method.numbers)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_that_is_used_is_built_under_its_name(method, tmp_path):
    config = whole_recipe()
    strengths = {"regularizer_strength": 1.0, "distillation_strength": 1.0, "reptile_strength": 0.1}
    strengths["dark_replay_strength"] = 0.5
    plasticity = replace(config.plasticity, meta_row_rate=0.1)
    config = replace(config, continual=replace(config.continual, **strengths), plasticity=plasticity)
    if method is ImageAugmentation:
        folder = str(write_images(tmp_path / "images"))
        images = replace(config.data, data=(folder,), tokenizer="bytes", image_shift_pixels=1.0)
        config = replace(whole_recipe(), run=replace(config.run, task="vision"), data=images)
    assert method.is_used(config)
    assert build_extensions(config, build_model(config, 257)).by_name()[method.name].name == method.name


@pytest.mark.parametrize(
    ("name", "section", "setting"),
    [("regularizer", "continual", {"regularizer_strength": 1.0}), ("meta_plasticity", "plasticity", {})],
)
def test_a_method_that_begins_behind_learned_tasks_and_holds_nothing_yet_says_so(name, section, setting):
    config = whole_recipe()
    config = replace(config, **{section: replace(getattr(config, section), **setting)})
    model, told = build_model(config, 257), []
    view = TakeUpView(model, 2, end_of_text=256, device=torch.device("cpu"), tell=told.append)
    method = build_extensions(config, model).by_name()[name]
    method.take_up(view)
    (sentence,) = told
    assert "in this task: it knows nothing of the 2 that were learned without it" in sentence


def test_numbers_are_shown_under_the_name_of_their_method():
    names = [number["name"] for number in shown_numbers(whole_recipe())]
    assert "stdp/mean_change" in names
    assert "replay/fraction" in names
    assert not any(name.startswith("replay/") for name in (n["name"] for n in shown_numbers(RunConfig())))


def test_a_method_of_another_package_meets_those_of_the_run():
    class Onlooker(Method):
        name = "onlooker"
        met: tuple[str, ...] = ()

        def meet(self, others):
            self.met = tuple(other.name for other in others)

        def after_step(self, view): ...

        def state_dict(self): ...

        def load_state_dict(self, state): ...

    onlooker, config = Onlooker(), whole_recipe()
    build_extensions(config, build_model(config, 257), [onlooker])
    assert onlooker.met == ("stdp", "meta_plasticity", "replay", "activity")
