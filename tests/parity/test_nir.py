"""Spiking populations written as NIR fire at the same ticks in snnTorch and in Norse."""

import warnings

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.models.blocks.spiking import SpikingBlock
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.spiking_graphs import DT, write_spiking_graphs

nir = pytest.importorskip("nir", reason="pip install -r requirements/parity.txt")
pytestmark = pytest.mark.peer

SIZES = {"hidden_dim": 32, "num_layers": 2, "spiking_units": 24, "num_gate_heads": 4}
TICKS = 100


def model_of(**options):
    """Return a model whose neurons have time constants of their own, and whose couplings are awake."""
    config = ModelConfig(**{**SIZES, "spike_reset": "zero", **options})
    generator = torch.Generator().manual_seed(0)
    model = LanguageModel(config, 40, generator)
    with torch.no_grad():
        for block in model.blocks:
            for name, parameter in block.named_parameters():
                if name.endswith("log_tau"):
                    parameter.uniform_(0.0, 3.0, generator=generator)
                elif not parameter.any():
                    parameter.normal_(0.0, 0.2, generator=generator)
    return model


@torch.no_grad()
def spikes_here(block, currents_TBD):
    """Return the spikes of the first population and of the second behind the plastic synapse, [T, B, S]."""
    currents_BTD = currents_TBD.transpose(0, 1)
    is_spiking_block = isinstance(block, SpikingBlock)
    first = block.first(block.input(currents_BTD) if is_spiking_block else currents_BTD).spikes_BTS
    current_BTS = block.plastic(first) + (0.0 if is_spiking_block else block.second_bias)
    return first.transpose(0, 1), block.second(current_BTS).spikes_BTS.transpose(0, 1)


@torch.no_grad()
def spikes_there(network, currents_TBD):
    spikes, state = [], None
    for current in currents_TBD:
        answer = network(current) if state is None else network(current, state)
        out, state = answer if isinstance(answer, tuple) else (answer, None)
        spikes.append(out)
    return torch.stack(spikes)


def in_snntorch(file):
    pytest.importorskip("snntorch", reason="pip install -r requirements/parity.txt")
    from snntorch.import_nir import import_from_nir

    return import_from_nir(nir.read(file))


def in_norse(file, norse):
    with warnings.catch_warnings():
        # It calls a function of nirtorch that is on its way out.
        warnings.filterwarnings("ignore", message=r"nirtorch\.load", category=DeprecationWarning)
        return norse.from_nir(nir.read(file), dt=DT)


def currents(width):
    return 1.5 * torch.randn(TICKS, 3, width, generator=torch.Generator().manual_seed(1))


BLOCKS = {"spiking": ({}, 32), "hybrid": ({"use_mamba": True, "integration_mode": "parallel"}, 24)}


@pytest.mark.parametrize("peer", ["snntorch", "norse"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_both_populations_fire_at_the_same_ticks(peer, kind, tmp_path, norse):
    options, width = BLOCKS[kind]
    model = model_of(**options)
    written = write_spiking_graphs(model, tmp_path)
    assert [file.name for file in written.files] == ["block-0.nir", "block-1.nir"]
    assert written.left_out == ()
    for file, block in zip(written.files, model.blocks, strict=True):
        network = in_snntorch(file) if peer == "snntorch" else in_norse(file, norse)
        _, expected = spikes_here(block, currents(width))
        assert 0.02 < expected.mean() < 0.5
        assert torch.equal(spikes_there(network, currents(width)), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"integration_mode": "bidirectional"}, "Mamba steers the time constants"),
        ({"integration_mode": "sequential"}, "driven by Mamba too"),
        ({"integration_mode": "parallel", "liquid_backbone": "cfc", "liquid_units": 24}, "a liquid cell"),
    ],
)
def test_a_population_that_nir_cannot_say_is_left_out_in_words_and_the_first_still_agrees(
    options, words, tmp_path, norse
):
    model = model_of(use_mamba=True, **options)
    written = write_spiking_graphs(model, tmp_path)
    assert len(written.left_out) == len(model.blocks)
    assert words in written.left_out[0]
    with torch.no_grad():
        block = model.blocks[0]
        expected = block.first(currents(24).transpose(0, 1)).spikes_BTS.transpose(0, 1)
    assert torch.equal(spikes_there(in_norse(written.files[0], norse), currents(24)), expected)


def test_a_reset_that_nir_cannot_say_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UserError, match="NIR can only set it to a value"):
        write_spiking_graphs(model_of(spike_reset="subtract"), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_model_without_spikes_is_refused(tmp_path):
    model = LanguageModel(ModelConfig(**SIZES, block_pattern="mamba", spike_reset="zero"), 40, torch.Generator())
    with pytest.raises(UserError, match="none of them spikes"):
        write_spiking_graphs(model, tmp_path)
