"""Presets: whole recipes, ordered by size."""

import shlex

import pytest

from mambrane.app.cli import parse_train
from mambrane.run.presets import PRESETS, smaller_presets
from mambrane.run.switches import on_and_off
from tests.contract.test_readme import command


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
        "STDP",
        "meta-plasticity",
    }


def test_the_tiny_preset_alone_is_the_main_command_of_the_readme():
    words = shlex.split(command("main").split("&&")[-1])[3:]
    assert parse_train(["--preset", "tiny"]).name == parse_train(words).name


def test_smaller_presets_are_those_with_a_smaller_model():
    assert smaller_presets(PRESETS["base"]()) == ["small", "tiny"]
    assert smaller_presets(PRESETS["tiny"]()) == []
