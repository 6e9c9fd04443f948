"""A stack of several kinds of block trains with every switch on, resumes bit for bit, and is measured and shown."""

import pytest

from mambrane.app.cli import main, parse_train
from mambrane.core.errors import UserError
from mambrane.training.train import train
from tests.contract.main_job import newest_weights, train_words, write_domains

SHORT = "--num-tasks 2 --epochs 2 --num-layers 3 --block-pattern hybrid,mamba,mamba2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("pattern") / "texts")


@pytest.fixture(autouse=True)
def _surroundings(data, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(data.parent / "cache"))
    monkeypatch.setenv("COLUMNS", "160")


def run(data, output, *words):
    return train(parse_train([*train_words(data, output)[3:], *SHORT.split(), *words]))


@pytest.mark.slow
def test_a_stopped_run_of_several_kinds_of_block_goes_on_to_the_same_weights_and_is_reported(data, tmp_path, capsys):
    run(data, tmp_path / "straight")
    run(data, tmp_path / "stopped", "--max-steps", "4")
    resumed = run(data, tmp_path / "stopped")
    assert resumed.outcome.is_finished
    assert newest_weights(tmp_path / "stopped") == newest_weights(tmp_path / "straight")
    page = resumed.report().read_text(encoding="utf-8")
    assert "block 1, first population" in page
    assert "block 2, first population" not in page
    assert main(["info", str(tmp_path / "stopped")]) == 0
    assert "plastic synapse" in capsys.readouterr().out


def test_plain_mamba_blocks_alone_train_and_are_reported_without_neurons(data, tmp_path):
    words = "--preset tiny --hidden-dim 16 --num-layers 2 --block-pattern mamba --max-steps 2 --sequence-length 32"
    output = tmp_path / "mamba"
    config = parse_train([*words.split(), "--data", str(data), "--output-dir", str(output)])
    page = train(config).report().read_text(encoding="utf-8")
    assert "The blocks of this model have no spiking neurons" in page


def test_stdp_without_a_plastic_synapse_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="no block has a plastic synapse"):
        run(data, tmp_path / "refused", "--block-pattern", "mamba")
