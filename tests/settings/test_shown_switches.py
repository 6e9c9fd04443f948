"""A run's summary names what is on and what is off."""

from dataclasses import replace

from mambrane.continual.config import ContinualConfig
from mambrane.models.config import ModelConfig
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import METHODS
from mambrane.settings.presets import tiny
from mambrane.settings.shown_switches import on_and_off


def test_every_method_is_named_once_but_the_probe_and_what_only_images_have():
    config = RunConfig(continual=ContinualConfig(regularizer="mas"))
    on, off = on_and_off(config)
    labels = {method.__name__: method.label_in(config) for method in METHODS}
    assert {name for name, label in labels.items() if not label} == {"ActivityProbe", "ImageAugmentation"}
    assert {label for label in labels.values() if label} <= set(off)
    assert "regularizer (mas)" in off
    assert len({*on, *off}) == len(on) + len(off)


def test_other_blocks_are_named_and_what_only_hybrid_ones_have_is_left_out():
    config = replace(tiny(), model=ModelConfig(block_pattern="mamba", num_layers=2))
    on, off = on_and_off(config)
    assert on[0] == "blocks mamba"
    assert not {"Mamba", "adaptive gating", "cross-attention", "liquid cells"} & {*on, *off}


def test_a_run_that_learned_more_is_one_of_all_its_tasks():
    assert "continual learning (6 tasks)" in on_and_off(tiny(), 6)[0]
    assert "continual learning (5 tasks)" in on_and_off(tiny())[0]


def test_how_it_is_computed_is_named_where_it_is_not_as_usual():
    usual_on, usual_off = on_and_off(tiny())
    words = ["sums in one order", "compiled blocks", "checkpointed activations"]
    assert not set(words) & {*usual_on, *usual_off}
    config = tiny()
    config = replace(
        config,
        run=replace(config.run, deterministic=True),
        engine=replace(config.engine, compile=True, checkpoint_activations=True),
    )
    assert [name for name in on_and_off(config)[0] if name not in usual_on] == words
