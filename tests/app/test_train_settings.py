"""From preset, file and flags to the configuration of a run."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from mambrane.app.train_settings import parse_train
from mambrane.core.errors import UserError
from mambrane.settings.config import RunConfig
from mambrane.settings.presets import PRESETS


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


def run(*words: str) -> subprocess.CompletedProcess:
    script = Path(__file__).parents[2] / "scripts" / "cli.py"
    return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)


def test_a_refused_setting_raises_the_error_that_the_command_line_prints():
    with pytest.raises(UserError, match="at least 1"):
        dataclasses.replace(RunConfig().model, hidden_dim=0)
