"""Spiking populations as graphs: what NIR cannot say is refused or named; numbers are compared in tests/parity."""

import pytest

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.spiking_graphs import write_spiking_graphs

nir = pytest.importorskip("nir", reason="pip install -r requirements/parity.txt")


def make_model(**settings):
    usual = {"hidden_dim": 8, "num_layers": 2, "spiking_units": 4, "num_gate_heads": 2}
    return LanguageModel(ModelConfig(**usual | settings), 11, make_generator(0, "weights"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_pattern": "mamba", "spike_reset": "zero"}, "none of them spikes"),
        ({"block_pattern": "spiking", "spike_reset": "subtract"}, "--spike-reset subtract"),
    ],
)
def test_a_model_that_cannot_be_said_is_refused_and_nothing_is_written(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        write_spiking_graphs(make_model(**settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_block_that_spikes_is_a_graph_and_a_liquid_cell_is_named_as_left_out(tmp_path):
    settings = {"block_pattern": "spiking,mamba", "spike_reset": "zero", "liquid_backbone": "cfc"}
    written = write_spiking_graphs(make_model(**settings), tmp_path)
    assert [file.name for file in written.files] == ["block-0.nir"]
    (sentence,) = written.left_out
    assert sentence.startswith("block 0: the second population is a liquid cell")
    assert set(nir.read(written.files[0]).nodes) == {"input", "input_weights", "first", "output"}
