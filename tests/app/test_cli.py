"""The command line answers at once, refuses with the way out, and says when a flag does nothing."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mambrane.app.cli import main
from mambrane.app.flags import given_settings
from mambrane.app.train_settings import base_of, parse_train
from mambrane.core.errors import UserError
from mambrane.run import config as run_config
from mambrane.run.config import RunConfig, defaults_for_old_runs, fingerprint, from_dict, to_dict
from mambrane.run.effects import settings_without_effect
from mambrane.run.presets import PRESETS

FLAGS_FILE = Path(__file__).parent / "flags.txt"


def flags() -> list[str]:
    sections = dataclasses.fields(RunConfig)
    names = [f.name for s in sections for f in dataclasses.fields(getattr(RunConfig(), s.name))]
    return sorted("--" + name.replace("_", "-") for name in [*names, "preset", "config", "json"])


def test_the_flags_are_the_recorded_ones():
    assert flags() == FLAGS_FILE.read_text().split(), "a flag came or went: record it in tests/app/flags.txt"


def test_no_two_settings_share_a_flag():
    assert len(flags()) == len(set(flags()))


def test_every_setting_says_what_it_is():
    for section in dataclasses.fields(RunConfig):
        config = getattr(RunConfig(), section.name)
        source = Path(sys.modules[type(config).__module__].__file__).read_text()
        for field in dataclasses.fields(config):
            declaration = source.index(f"\n    {field.name}: ")
            after = source[declaration:].split("\n")[2].strip()
            assert after.startswith('"""'), f"{section.name}.{field.name} has no sentence"


def test_understanding_the_words_imports_no_torch():
    code = "import sys, mambrane.app.cli as c; c.parse_train(['--preset', 'tiny']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_preset_fills_in_the_defaults_and_a_flag_changes_one():
    config = parse_train(["--preset", "tiny", "--batch-size", "3", "--no-mixed-precision"])
    expected = PRESETS["tiny"]()
    expected = dataclasses.replace(
        expected,
        data=dataclasses.replace(expected.data, batch_size=3),
        engine=dataclasses.replace(expected.engine, mixed_precision=False),
    )
    assert config == expected


def test_a_configuration_file_stands_between_preset_and_flags(tmp_path):
    file = tmp_path / "c.json"
    file.write_text('{"data": {"batch_size": 5, "sequence_length": 33}}')
    config = parse_train(["--preset", "tiny", "--config", str(file), "--batch-size", "6"])
    assert (config.data.batch_size, config.data.sequence_length) == (6, 33)
    assert config.model == PRESETS["tiny"]().model


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_json(preset):
    config = PRESETS[preset]()
    assert from_dict(to_dict(config), source="test") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1"),
        ("[1]", "not settings by section"),
        ('{"modle": {}}', "unknown section 'modle'"),
        ('{"model": {"width": 3}}', "unknown setting model.width"),
        ('{"model": {"hidden_dim": 0}}', "--hidden-dim 0"),
        ('{"model": {"hidden_dim": "256"}}', "model.hidden_dim: '256'\n  wanted:  a whole number"),
        ('{"model": {"hidden_dim": true}}', "model.hidden_dim: True"),
        ('{"run": {"epochs": 30.5}}', "run.epochs: 30.5"),
        ('{"engine": {"learning_rate": "1e-3"}}', "engine.learning_rate: '1e-3'\n  wanted:  a number"),
        ('{"engine": {"precision": "fp8"}}', "engine.precision: 'fp8'\n  wanted:  one of auto, fp32, tf32, bf16, fp16"),
        ('{"model": {"integration_mode": "paralel"}}', "wanted:  one of sequential, parallel, bidirectional"),
        ('{"model": {"mamba_version": 3}}', "model.mamba_version: 3\n  wanted:  one of 1, 2"),
        ('{"model": {"use_mamba": "yes"}}', "model.use_mamba: 'yes'\n  wanted:  true or false"),
        ('{"data": {"data": "builtin"}}', "data.data: 'builtin'\n  wanted:  a list, each item text"),
        ('{"data": {"data": [1]}}', "data.data: [1]"),
        ('{"data": {"tokenizer": null}}', "data.tokenizer: None\n  wanted:  text"),
    ],
)
def test_a_bad_configuration_file_is_refused_by_name(tmp_path, capsys, text, message):
    file = tmp_path / "c.json"
    file.write_text(text)
    assert main(["train", "--dry-run", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "way out" in error


REFUSED = {
    "--use-cross-attention --no-use-mamba": "way out: add these two flags",
    "--use-adaptive-gating --no-use-mamba": "add --use-mamba",
    "--use-mamba --num-gate-heads 7": "--num-gate-heads 4",
    "--use-replay --no-continual-learning": "add --continual-learning",
    "--regularizer-strength 1 --no-continual-learning": "add --continual-learning",
    "--distillation-strength 1 --no-continual-learning": "add --continual-learning",
    "--distillation-temperature 0": "--distillation-temperature 2",
    "--use-stdp --liquid-backbone cfc": "--liquid-backbone lif",
    "--continual-learning --num-tasks 5 --epochs 4": "--epochs 5",
    "--precision bf16 --no-mixed-precision": "leave one of the two flags out",
    "--keep-checkpoints 1": "at least 2",
    "--sequence-length 0": "--sequence-length",
}


@pytest.mark.parametrize("words", REFUSED)
def test_an_impossible_combination_is_refused_with_the_way_out(words):
    result = run("train", "--dry-run", *words.split())
    assert result.returncode == 2
    told = " ".join(result.stderr.replace("│", " ").split())
    assert REFUSED[words] in told
    assert "Traceback" not in told


def test_an_unknown_command_names_the_known_ones(capsys):
    assert main(["trian"]) == 2
    assert "train, evaluate, generate, score, compare, report, export, info" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "generate", "score", "report", "export", "info"])
def test_a_folder_without_a_run_is_refused(command, tmp_path, capsys):
    assert main([command, str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def with_setting(config, section, name, value):
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{name: value})})


OTHER_WORDS = {
    "stdp_type": "bcm",
    "stdp_bounds": "soft",
    "replay_strategy": "uniform",
    "regularizer": "mas",
}


DEPENDENT = {
    "plasticity": """stdp_type stdp_learning_rate stdp_tau_plus stdp_tau_minus stdp_target_rate stdp_bounds
        stdp_max_weight use_meta_plasticity meta_lr meta_kappa""",
    "continual": """num_tasks use_replay replay_buffer_size replay_strategy replay_fraction regularizer_strength
        regularizer regularizer_decay fisher_sequences distillation_strength distillation_temperature""",
}
"""Settings that do nothing without another one."""


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, names in DEPENDENT.items() for name in names.split()]
)
def test_a_setting_without_its_switch_is_warned_of(section, name):
    off = RunConfig()
    if name in ("use_replay", "regularizer_strength", "distillation_strength"):
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
            "--fisher-sequences 64 has no effect without --regularizer ewc or mas",
        ),
        (
            "--use-meta-plasticity --no-continual-learning",
            "--use-meta-plasticity gates no update without --continual-learning with --num-tasks 2 or more; it "
            "consolidates synapses",
        ),
    ],
)
def test_a_flag_given_at_the_value_of_the_preset_is_warned_of_too(words, sentence):
    config, base = parse_train(words.split()), base_of(words.split())
    assert settings_without_effect(config, base, given_settings(words.split())) == [sentence]


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


def test_a_setting_that_changed_behaviour_when_it_was_added_stands_where_earlier_runs_were_trained(monkeypatch):
    assert defaults_for_old_runs() == RunConfig()
    monkeypatch.setitem(run_config.BEFORE_THEY_EXISTED, "engine.adam_beta2", 0.5)
    expected = dataclasses.replace(RunConfig().engine, adam_beta2=0.5)
    assert defaults_for_old_runs() == dataclasses.replace(RunConfig(), engine=expected)


def test_operational_settings_do_not_change_the_identity():
    config = PRESETS["tiny"]()
    other = dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, max_steps=5, output_dir="x"),
        engine=dataclasses.replace(config.engine, save_every=1, keep_checkpoints=9),
    )
    assert fingerprint(config) == fingerprint(other)
    assert fingerprint(config) != fingerprint(dataclasses.replace(config, run=dataclasses.replace(config.run, seed=1)))


def test_a_whole_number_for_a_fraction_is_the_same_configuration():
    from_file = from_dict({"engine": {"learning_rate": 1}}, source="test", base=PRESETS["base"]())
    assert from_file.name == parse_train(["--learning-rate", "1"]).name


def test_a_setting_that_is_added_does_not_change_the_name_of_a_run(monkeypatch):
    config = PRESETS["tiny"]()
    before = config.name, RunConfig().name

    def with_a_new_setting(config):
        sections = to_dict(config)
        sections["engine"]["lookahead"] = 3
        return sections

    monkeypatch.setattr(run_config, "to_dict", with_a_new_setting)
    assert (config.name, RunConfig().name) == before


def test_a_setting_with_an_earlier_value_changes_the_name_only_where_it_is_not_at_that(monkeypatch):
    config = RunConfig()
    earlier = dataclasses.replace(config, engine=dataclasses.replace(config.engine, adam_beta2=0.5))
    before = config.name
    monkeypatch.setitem(run_config.BEFORE_THEY_EXISTED, "engine.adam_beta2", 0.5)
    assert earlier.name == before
    assert config.name != before


def run(*words: str) -> subprocess.CompletedProcess:
    script = Path(__file__).parents[2] / "scripts" / "cli.py"
    return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)


def test_a_refused_setting_raises_the_error_that_the_command_line_prints():
    with pytest.raises(UserError, match="at least 1"):
        dataclasses.replace(RunConfig().model, hidden_dim=0)


def test_the_config_file_of_a_run_gives_the_configuration_of_that_run(tmp_path):
    words = ["--preset", "tiny", "--hidden-dim", "32", "--num-gate-heads", "2", "--ema-decay", "0.9"]
    config = parse_train(words)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(to_dict(config)))
    assert parse_train(["--config", str(file)]) == config
