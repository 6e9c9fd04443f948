"""A run's configuration: JSON there and back, its identity, and what is refused."""

import dataclasses
import json

import pytest

from mambrane.app.cli import main
from mambrane.app.train_settings import parse_train
from mambrane.core.errors import UserError
from mambrane.data.config import DataConfig
from mambrane.settings import config as run_config
from mambrane.settings.config import RunConfig, RunOptions, defaults_for_old_runs, fingerprint, from_dict, to_dict
from mambrane.settings.named_settings import configure
from mambrane.settings.presets import PRESETS


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


@pytest.mark.parametrize("tokenizer", ["bpe:300", "bpe:300:all", "hf:some/model", "tokenizer.json"])
def test_images_in_another_tokenizer_than_bytes_are_refused(tokenizer):
    with pytest.raises(UserError) as error:
        RunConfig(run=RunOptions(task="vision"), data=DataConfig(data=("digits",), tokenizer=tokenizer))
    assert f"--task vision with --tokenizer {tokenizer}" in error.value.found
    assert "--tokenizer bytes" in error.value.way_out


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


def test_the_config_file_of_a_run_gives_the_configuration_of_that_run(tmp_path):
    words = ["--preset", "tiny", "--hidden-dim", "32", "--num-gate-heads", "2", "--ema-decay", "0.9"]
    config = parse_train(words)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(to_dict(config)))
    assert parse_train(["--config", str(file)]) == config


@pytest.mark.parametrize("source", ["generated", "both"])
def test_a_model_that_learns_labels_is_not_asked_to_write_what_is_replayed(source):
    with pytest.raises(UserError, match=f"--task vision with --replay-source {source}"):
        configure(preset="tiny", task="vision", use_replay=True, replay_source=source)
