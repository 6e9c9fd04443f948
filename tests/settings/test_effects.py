"""Settings without effect: each is warned of, and none that has one."""

import dataclasses

import pytest

from mambrane.app.flags import given_settings
from mambrane.app.train_settings import base_of, parse_train
from mambrane.core.needs import unmet_needs
from mambrane.settings.config import RunConfig
from mambrane.settings.effects import settings_without_effect
from mambrane.settings.presets import PRESETS


def with_setting(config, section, name, value):
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{name: value})})


OTHER_WORDS = {
    "stdp_type": "bcm",
    "stdp_bounds": "soft",
    "replay_strategy": "uniform",
    "regularizer": "mas",
    "curriculum": "cumulative",
    "replay_source": "generated",
    "replay_timing": "updates",
    "max_forgetting": 0.3,
    "min_gain": 0.3,
    "stdp_control": "flipped",
    "meta_control": "uniform",
    "scenario": "class",
    "image_tokens": "pixels",
}
NEEDS_TASKS = ("use_replay", "regularizer_strength", "distillation_strength", "max_forgetting")
"""Settings that are refused, or at work, where continual learning is off; in one task they do nothing."""


DEPENDENT = {
    "plasticity": """stdp_type stdp_learning_rate stdp_tau_plus stdp_tau_minus stdp_target_rate stdp_bounds
        stdp_max_weight stdp_control use_meta_plasticity meta_lr meta_kappa meta_row_rate meta_control""",
    "continual": """num_tasks use_replay replay_buffer_size replay_strategy replay_fraction regularizer_strength
        regularizer regularizer_decay fisher_sequences distillation_strength distillation_temperature
        distillation_confidence_power curriculum replay_share replay_source replay_timing replay_label_strength
        dark_replay_strength dark_replay_top_k reptile_interval max_forgetting min_gain""",
    "engine": "decay_ratio",
    "data": "scenario classes_per_task image_tokens image_shift_pixels image_rotation_degrees image_stretch",
}
"""Settings that do nothing without another one."""


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, names in DEPENDENT.items() for name in names.split()]
)
def test_a_setting_without_its_switch_is_warned_of(section, name):
    off = RunConfig()
    if name in NEEDS_TASKS:
        off = with_setting(with_setting(off, "continual", "num_tasks", 1), "continual", "continual_learning", True)
    value = getattr(getattr(off, section), name)
    new_value = OTHER_WORDS.get(name, value + 1 if type(value) is int else 0.3 if type(value) is float else not value)
    changed = with_setting(off, section, name, new_value)
    (sentence,) = settings_without_effect(changed, off)
    shown = "" if new_value is True else f" {new_value}"
    assert sentence.startswith(f"--{name.replace('_', '-')}{shown} has no effect without ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--num-tasks 5 --no-continual-learning", "--num-tasks 5 has no effect without --continual-learning"),
        ("--mamba-expand=2 --no-use-mamba", "--mamba-expand 2 has no effect without --use-mamba"),
        ("--stdp_bounds hard --no-use-stdp", "--stdp-bounds hard has no effect without --use-stdp"),
        (
            "--regularizer-strength 1 --regularizer si --fisher-sequences 64",
            "--fisher-sequences 64 has no effect without --regularizer ewc, mas or isi-cv",
        ),
        (
            "--use-stdp --use-meta-plasticity --no-continual-learning",
            "--use-meta-plasticity gates no update without --continual-learning with --num-tasks 2 or more; it "
            "consolidates synapses",
        ),
    ],
)
def test_a_flag_given_at_the_value_of_the_preset_is_warned_of_too(words, sentence):
    config, base = parse_train(words.split()), base_of(words.split())
    assert settings_without_effect(config, base, given_settings(words.split())) == [sentence]


def test_late_replay_is_said_to_come_short_where_patience_may_end_a_task():
    words = ["--use-replay", "--replay-timing", "late", "--patience", "2"]
    (sentence,) = settings_without_effect(parse_train(words), base_of(words))
    assert sentence.startswith("--replay-timing late")
    assert "--patience" in sentence
    assert settings_without_effect(parse_train(words[:-2]), base_of(words[:-2])) == []


SEQUENCE_OF_TASKS = "--continual-learning with --num-tasks 2 or more"


@pytest.mark.parametrize(
    ("on", "setting", "missing"),
    [
        ({}, ("plasticity", "meta_kappa", 2.0), f"--use-meta-plasticity and {SEQUENCE_OF_TASKS}"),
        ({"plasticity": "use_meta_plasticity"}, ("plasticity", "meta_kappa", 2.0), SEQUENCE_OF_TASKS),
        ({"continual": "continual_learning"}, ("plasticity", "meta_kappa", 2.0), "--use-meta-plasticity"),
        (
            {},
            ("plasticity", "use_meta_plasticity", True),
            f"{SEQUENCE_OF_TASKS} (to gate) or --use-stdp (to consolidate)",
        ),
        ({}, ("plasticity", "stdp_target_rate", 0.2), "--use-stdp"),
        ({"continual": "continual_learning"}, ("continual", "fisher_sequences", 9), "--regularizer-strength above 0"),
        ({"continual": "continual_learning"}, ("continual", "replay_fraction", 0.2), "--use-replay"),
    ],
)
def test_all_that_a_setting_needs_and_lacks_is_named_and_nothing_else(on, setting, missing):
    config = RunConfig()
    for section, switch in on.items():
        config = with_setting(config, section, switch, True)
    (sentence,) = settings_without_effect(with_setting(config, *setting), config)
    assert sentence.endswith(f" has no effect without {missing}")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--no-use-mamba",
        "--no-continual-learning",
        "--liquid-backbone cfc",
        "--num-tasks 1",
        "--no-use-replay --no-use-meta-plasticity --regularizer-strength 0 --distillation-strength 0",
        "--use-meta-plasticity --meta-kappa 3 --continual-learning --use-replay --regularizer-strength 1",
    ],
)
def test_what_is_switched_off_or_at_work_is_not_warned_of(words):
    config, base = parse_train(words.split()), base_of(words.split())
    assert settings_without_effect(config, base, given_settings(words.split())) == []


def test_every_setting_that_needs_another_is_tried_above():
    needing = {(section, name) for section, name, _ in unmet_needs(RunConfig())}
    assert needing == {(section, name) for section, names in DEPENDENT.items() for name in names.split()}


def test_the_main_command_has_no_setting_without_effect():
    words = "--preset tiny --use-mamba --use-stdp --use-replay --continual-learning --use-cross-attention"
    config = parse_train([*words.split(), "--mamba-d-state", "32", "--stdp-target-rate", "0.2"])
    assert settings_without_effect(config, PRESETS["tiny"]()) == []


@pytest.mark.parametrize("words", ["triplet", "bcm", "homeostatic", "classical --use-meta-plasticity"])
def test_every_rule_that_reads_the_target_rate_is_known(words):
    config = parse_train(f"--use-stdp --stdp-target-rate 0.2 --continual-learning --stdp-type {words}".split())
    assert settings_without_effect(config, PRESETS["base"]()) == []


def test_the_target_rate_without_a_rule_that_reads_it_is_warned_of():
    words = ["--use-stdp", "--stdp-target-rate", "0.2", "--stdp-type", "classical", "--no-use-meta-plasticity"]
    (sentence,) = settings_without_effect(parse_train(words), base_of(words))
    assert sentence.startswith("--stdp-target-rate 0.2 has no effect without --stdp-type")
