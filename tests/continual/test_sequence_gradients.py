"""Gradients of several sequences in one pass are those of each sequence alone, whatever the model is made of."""

import pytest
import torch

from mambrane.continual.sequence_gradients import gradients_by_sequence, passes_over
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch, joined
from mambrane.kernels.triton.launch import WatchTorch, rehearsal
from mambrane.models.config import ModelConfig, block_kind_names
from mambrane.models.language_model import LanguageModel
from tests.continual.conftest import VOCAB_SIZE, move
from tests.ops.tolerances import RATIO, assert_close

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

TOKENS = 24
HYBRID = {"use_mamba": True, "num_gate_heads": 4, "mamba_d_state": 4}
MODELS = {
    **{name: {"block_pattern": name, "tie_embeddings": False} for name in block_kind_names()},
    "attention": {**HYBRID, "use_adaptive_gating": True, "use_cross_attention": True, "cross_attn_heads": 2},
    "two ticks, rate": {**HYBRID, "num_spike_steps": 2, "spike_to_mamba_method": "rate", "spike_reset": "zero"},
    "groups, membrane": {
        **HYBRID,
        **{"mamba_version": 2, "mamba_head_dim": 8, "mamba_groups": 2, "spike_to_mamba_method": "potential"},
    },
    "sequential": {**HYBRID, "integration_mode": "sequential", "detach_reset": True, "surrogate": "atan"},
    "cfc": {**HYBRID, "liquid_backbone": "cfc", "liquid_units": 12},
    "ltc": {**HYBRID, "liquid_backbone": "ltc", "liquid_units": 12, "integration_mode": "parallel"},
}


def build(name, device="cpu"):
    """Return a model without dropout in which no weight is zero."""
    with torch.device(device), torch.random.fork_rng(devices=[]):
        config = ModelConfig(**{"hidden_dim": 16, "num_layers": 1, "spiking_units": 12, **MODELS[name]})
        return LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights")).eval()


def sequences_of(num_tokens, number=3):
    generator = make_generator(0, "sequences")
    for _ in range(number):
        tokens = torch.randint(VOCAB_SIZE, (1, num_tokens), generator=generator)
        yield MicroBatch(tokens, tokens.roll(-1, 1), torch.rand(tokens.shape, generator=generator) < 0.1)


def squares(logits):
    return logits.square().sum()


def gradients_together(model, sequences):
    found = {}
    gradients_by_sequence(model, joined(*sequences), squares, found.__setitem__)
    assert all(parameter.grad is None for parameter in model.parameters())
    return found


def gradients_alone(model, sequence):
    model.zero_grad()
    squares(model(sequence.inputs_BT, resets_BT=sequence.resets_BT).logits_BTV).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("device", "ratio"),
    [
        ("cpu", 10 * RATIO[torch.float32]),
        # Another product of a batch rounds in another way, and a neuron at its threshold may fire or not.
        pytest.param("cuda", 0.1, marks=[pytest.mark.gpu, needs_gpu]),
    ],
)
def test_each_gradient_is_that_of_its_sequence_alone(name, device, ratio):
    model = build(name)
    move(model, by=0.1)
    model, sequences = model.to(device), [sequence.to(device) for sequence in sequences_of(TOKENS)]
    together = gradients_together(model, sequences)
    for row, sequence in enumerate(sequences):
        alone = gradients_alone(model, sequence)
        assert together.keys() == alone.keys()
        for parameter, gradient in alone.items():
            assert_close(parameter, gradient, together[parameter][row], ratio)


@pytest.mark.parametrize("name", ["attention", "groups, membrane", "cfc", "ltc", "ternary"])
def test_on_a_gpu_several_sequences_start_fewer_kernels_than_each_alone(name):
    model, launches = build(name, "meta"), []
    for sequences in (1, 8):
        tokens = torch.zeros(sequences, TOKENS, dtype=torch.int64, device="meta")
        batch = MicroBatch(tokens, tokens, torch.zeros_like(tokens, dtype=torch.bool))
        with rehearsal() as started, WatchTorch():
            if sequences == 1:
                gradients_alone(model, batch)
            else:
                gradients_together(model, [batch])
        launches.append(len(started))
    assert launches[1] < 8 * launches[0] / 2


def test_what_does_not_learn_has_no_gradient():
    model, sequences = build("attention"), list(sequences_of(TOKENS))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "blocks.0.mixer.A_log")
    together = gradients_together(model, sequences)
    assert together.keys() == {"blocks.0.mixer.A_log"}
    alone = torch.stack([gradients_alone(model, sequence)["blocks.0.mixer.A_log"] for sequence in sequences])
    assert_close("A_log", alone, together["blocks.0.mixer.A_log"], 10 * RATIO[torch.float32])


def test_blocks_that_are_compiled_run_as_they_are_written():
    def refuse(*_):
        raise AssertionError("something was compiled")

    model, sequences = build("mamba"), list(sequences_of(TOKENS))
    expected = gradients_together(model, sequences)
    for block in model.blocks:
        block.compile(backend=refuse)
    found = gradients_together(model, sequences)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_neighbours_of_one_length_go_together_and_each_sequence_once():
    sequences = [*sequences_of(500, 6), *sequences_of(4000, 2), *sequences_of(2, 17)]
    passes = list(passes_over(sequences, range(1, 25)))
    assert passes == [[1, 2, 3, 4], [5], [6], [7], list(range(8, 24)), [24]]
    assert list(passes_over(sequences, range(0))) == []
