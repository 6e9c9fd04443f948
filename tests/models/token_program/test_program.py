"""A model as one program gives the numbers of its forward pass, token by token, in every mode."""

import pytest
import torch

from mambrane.layers.mamba import Mamba
from mambrane.models.block import MixerBlock
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.token_program.program import TokenProgram, why_no_program
from tests.models.modes import SMALL, VOCAB_SIZE, all_modes, build_awake, describe, random_tokens
from tests.ops.tolerances import RATIO, assert_close

UNEVEN = {**SMALL, "hidden_dim": 40, "num_gate_heads": 5, "spiking_units": 19, "cross_attn_heads": 5}
WITHOUT_PROGRAM = {"counts", "ternary"}
MODES = [
    config
    for config in all_modes()
    if (config.liquid_backbone == "lif" or config.spike_to_mamba_method == "rate")
    and WITHOUT_PROGRAM.isdisjoint(config.block_kinds)
]
CONFIGS = [
    *MODES,
    ModelConfig(**{**UNEVEN, "liquid_units": 13}, use_mamba=True, liquid_backbone="cfc", num_spike_steps=2),
    ModelConfig(**{**UNEVEN, "liquid_units": 21}, use_mamba=True, liquid_backbone="ltc", num_spike_steps=2),
    ModelConfig(**UNEVEN, use_mamba=True, use_cross_attention=True, tie_embeddings=False),
    ModelConfig(**UNEVEN, use_mamba=True, mamba_version=2, mamba_head_dim=10, mamba_groups=2),
    ModelConfig(**UNEVEN, use_mamba=True, integration_mode="sequential", spike_reset="zero"),
    ModelConfig(**SMALL, block_pattern="mamba", mamba_d_conv=1, mamba_dt_rank=5),
]
TOKENS = random_tokens(1, 24)


def read_all(program, tokens):
    scores = []
    for token in tokens:
        program.read(token)
        scores.append(torch.from_numpy(program.scores.copy()))
    return torch.stack(scores)


@pytest.mark.parametrize("config", CONFIGS, ids=describe)
@torch.no_grad()
def test_scores_are_those_of_the_forward_pass_and_the_state_goes_both_ways(config):
    model = build_awake(config).float().eval()
    assert why_no_program(model) == ""
    expected = model(TOKENS).logits_BTV[0]
    program = TokenProgram(model)
    assert_close("scores", expected, read_all(program, TOKENS[0].tolist()), RATIO[torch.float32])

    state = model(TOKENS[:, :10]).state
    program.load(state)
    assert_close("after a state", expected[10:12], read_all(program, TOKENS[0, 10:12].tolist()), RATIO[torch.float32])
    back = model(TOKENS[:, 12:], state=program.state_like(state)).logits_BTV[0]
    assert_close("with its state", expected[12:], back, RATIO[torch.float32])

    program.forget()
    assert_close("from nothing", expected, read_all(program, TOKENS[0].tolist()), RATIO[torch.float32])


@torch.no_grad()
def test_a_program_of_silent_neurons_and_one_of_firing_ones_both_agree():
    config = ModelConfig(**SMALL, use_mamba=True)
    for bias in (-100.0, 100.0):
        model = build_awake(config).float().eval()
        for block in model.blocks:
            block.first_bias.fill_(bias)
        expected = model(TOKENS).logits_BTV[0]
        assert_close("scores", expected, read_all(TokenProgram(model), TOKENS[0].tolist()), RATIO[torch.float32])


def test_what_has_no_program_says_why():
    plain = LanguageModel(ModelConfig(**SMALL, block_pattern="mamba"), VOCAB_SIZE, torch.Generator())
    assert "float64" in why_no_program(plain.double())

    class OtherBlock(MixerBlock):
        pass

    plain.float().blocks[0] = OtherBlock(32, Mamba(32, expand=2, d_state=4, d_conv=4, dt_rank=2))
    assert why_no_program(plain) == "OtherBlock has none"
    for kind in WITHOUT_PROGRAM:
        spiking = LanguageModel(ModelConfig(**SMALL, block_pattern=kind), VOCAB_SIZE, torch.Generator())
        assert why_no_program(spiking) == "SpikeCountBlock has none"


@torch.no_grad()
def test_weights_are_those_at_the_time_it_was_made():
    model = build_awake(ModelConfig(**SMALL, block_pattern="mamba")).float()
    program = TokenProgram(model)
    program.read(3)
    before = program.scores.copy()
    model.embedding.weight.mul_(2.0)
    program.forget()
    program.read(3)
    assert (program.scores == before).all()
