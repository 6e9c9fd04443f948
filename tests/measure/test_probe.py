"""What the probe sees of the model."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from mambrane.core.seeding import make_generator
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.measure.probe import probe_model
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

TOKENIZER = BytesTokenizer()
TOKENS = [256, *"caf\u00e9 au lait, s'il vous pla\u00eet".encode()]


def build(**changes):
    sizes = {"hidden_dim": 16, "num_layers": 2, "spiking_units": 8, "liquid_units": 6, "num_gate_heads": 4}
    return LanguageModel(ModelConfig(**{**sizes, "use_mamba": True, **changes}), 257, make_generator(0, "weights"))


def test_spikes_and_rates_are_those_of_the_forward_pass():
    model = build(use_adaptive_gating=True)
    for block in model.blocks:
        torch.nn.init.normal_(block.path_gate.weight, generator=make_generator(1, "gate"))
    probe = probe_model(model, TOKENS, TOKENIZER, shown_tokens=5)
    with torch.no_grad():
        tokens = torch.tensor([TOKENS])
        output = model(tokens, resets_BT=tokens == 256)
    for block, activity in zip(probe.blocks, output.activity, strict=True):
        assert np.array_equal(block.first_spikes, activity.pre_spikes_BTS[0, :5].numpy() == 1)
        assert block.first_rates.mean() == pytest.approx(activity.first_rate.item())
        assert block.second_rates.mean() == pytest.approx(activity.second_rate.item())
        assert np.allclose(block.gate, activity.gate[0].mean(dim=0).numpy())
    assert probe.num_tokens == len(TOKENS)
    nats = functional.cross_entropy(output.logits_BTV[0, :4], tokens[0, 1:5], reduction="sum").item()
    assert probe.surprise_bits[1:].sum() == pytest.approx(nats / np.log(2), rel=1e-5)


def test_a_character_stands_where_its_last_byte_is():
    probe = probe_model(build(), TOKENS, TOKENIZER, shown_tokens=7)
    assert probe.pieces == ("", "c", "a", "f", "", "\u00e9", " ")


def test_with_several_ticks_a_token_has_several_rows():
    probe = probe_model(build(num_spike_steps=3), TOKENS, TOKENIZER, shown_tokens=4)
    assert probe.ticks_per_token == 3
    assert probe.blocks[0].first_spikes.shape == (12, 8)


@pytest.mark.parametrize("backbone", ["cfc", "ltc"])
def test_a_liquid_population_has_no_spikes(backbone):
    probe = probe_model(build(liquid_backbone=backbone), TOKENS, TOKENIZER)
    assert probe.blocks[0].second_spikes is None
    assert probe.firing_rates[0][1] is None


def test_a_fixed_gate_and_no_gate_are_told_apart():
    assert probe_model(build(), TOKENS, TOKENIZER).blocks[0].gate.shape == (4,)
    assert probe_model(build(use_mamba=False), TOKENS, TOKENIZER).blocks[0].gate is None


def test_a_block_without_neurons_has_nothing_to_show():
    probe = probe_model(build(block_pattern="mamba,hybrid"), TOKENS, TOKENIZER)
    assert probe.blocks[0] == (None,) * 5
    assert probe.firing_rates[0] == (None, None)
    assert probe.spiking_blocks == [1]
    assert probe.firing_rates[1].first == pytest.approx(probe.blocks[1].first_rates.mean())
