"""Commands of the README about weights and text run as pasted, on small runs in place of the README's."""

import io
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch

from mambrane.app.cli import main
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.pretrained import write_model_folder
from mambrane.models.published_names import published_name, published_settings
from tests.contract.test_readme import ROOT, command
from tests.trained import train_small

SMALLER = "--max-steps 1 --batch-size 2 --sequence-length 16 --epoch-tokens 64 --num-layers 1"


def published(folder):
    """Write a Mamba in place of the one on the hub."""
    config = ModelConfig(block_pattern="mamba", hidden_dim=32, num_layers=1, mamba_d_state=4)
    model = LanguageModel(config, 257, torch.Generator())
    weights = {published_name(name): value for name, value in model.state_dict().items()}
    write_model_folder(folder, published_settings(config, 257, end_of_text=256), weights, tokenizer=BytesTokenizer())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what stands before these commands in the README: runs/first, texts/, CHANGELOG.md."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMBRANE_CACHE", str(folder / "cache"))
        (folder / "runs").mkdir()
        train_small(folder).rename(folder / "runs" / "first")
    shutil.copy(ROOT / "CHANGELOG.md", folder)
    published(folder / "published")
    return folder


def lines_of(name):
    return [line for line in command(name).splitlines() if line.strip()]


@pytest.mark.parametrize("name", ["weights", "text"])
def test_each_command_ends_in_order(place, name, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("MAMBRANE_CACHE", str(place / "cache"))
    for line in lines_of(name):
        before, _, words = line.rpartition(" | ")
        if before:
            assert before == "tail -n 20 CHANGELOG.md"
            text = "\n".join(Path("CHANGELOG.md").read_text().splitlines()[-20:]) + "\n"
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        program, *arguments = shlex.split(words.replace("hf:state-spaces/mamba-130m-hf", str(place / "published")))
        assert program == ".venv/bin/mambrane"
        if arguments[0] in ("train", "learn"):
            arguments += SMALLER.split()
        assert main(arguments) == 0, line
        out = capsys.readouterr().out
        assert out.strip(), line
    if name == "weights":
        assert (place / "plain-mamba" / "model.safetensors").exists()
