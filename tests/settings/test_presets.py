"""Presets: whole recipes, ordered by size."""

import shlex

import pytest

from mambrane.app.cli import parse_train
from mambrane.settings.presets import PRESETS, smaller_presets
from mambrane.settings.shown_switches import on_and_off
from tests.contract.test_readme import command
from tests.settings.whole_recipe import MAIN_SWITCHES, whole_recipe


def switched_on(words):
    return set(on_and_off(parse_train(shlex.split(words)))[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_turns_on_the_whole_recipe(preset):
    assert switched_on(f"--preset {preset}") - {"checkpointed activations"} == {
        "Mamba 1 (bidirectional)",
        "adaptive gating",
        "cross-attention",
        "continual learning (5 tasks)",
        "replay",
    }


def test_the_recipes_have_the_rates_and_sizes_that_docs_experiments_chose():
    chosen = {
        name: (config.engine.learning_rate, config.model.hidden_dim, config.model.num_layers, config.data.tokenizer)
        for name, make in PRESETS.items()
        if name in ("tiny", "small", "base")
        for config in [make()]
    }
    assert chosen == {
        "tiny": (4e-3, 128, 2, "bpe:1024"),
        "small": (2e-3, 256, 4, "bytes"),
        "base": (1e-3, 512, 8, "bytes"),
    }


def test_the_main_command_of_the_readme_is_the_tiny_preset_with_stdp_and_meta_plasticity():
    words = shlex.split(command("main").split("&&")[-1])[3:]
    assert parse_train(["--preset", "tiny", *MAIN_SWITCHES.split()]).name == parse_train(words).name
    assert parse_train(words).plasticity == whole_recipe().plasticity


def test_smaller_presets_are_those_with_a_smaller_model():
    assert smaller_presets(PRESETS["base"]()) == ["small", "tiny"]
    assert smaller_presets(PRESETS["tiny"]()) == []
