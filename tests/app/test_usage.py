"""The words above the settings."""

import re
from dataclasses import asdict

import pytest

from mambrane.app.arguments import ARGUMENTS
from mambrane.app.usage import TRAIN_INTRODUCTION, USAGE
from mambrane.settings import presets

SWITCHES = {
    "Mamba": "use_mamba",
    "gating": "use_adaptive_gating",
    "cross-attention": "use_cross_attention",
    "continual learning": "continual_learning",
    "replay": "use_replay",
    "STDP": "use_stdp",
    "meta-plasticity": "use_meta_plasticity",
}


def test_every_command_is_named_in_the_overview():
    assert [name for name in ARGUMENTS if f"\n  mambrane {name}" not in USAGE] == []


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_what_is_said_to_be_on_and_off_is_so_in_each_preset(preset):
    sentence = " ".join(TRAIN_INTRODUCTION.split())
    said_on, said_off = re.search(r"whole recipe: (.*) are on, (.*) off;", sentence).groups()
    settings = {name: value for part in asdict(presets.PRESETS[preset]()).values() for name, value in part.items()}
    found = {words: settings[name] for words, name in SWITCHES.items()}
    assert found == {words: words in said_on for words in SWITCHES}
    assert all((words in said_off) != is_on for words, is_on in found.items())
