"""Generation: exact, repeatable, constant in memory."""

import itertools

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.measure.generation import generate_batch, prefill
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

END = 256
PROMPT = [END, *b"the spike"]


def build(**changes):
    sizes = {"hidden_dim": 16, "num_layers": 2, "spiking_units": 8, "mamba_d_state": 4, "num_gate_heads": 2}
    parts = {"use_mamba": True, "use_adaptive_gating": True, "use_cross_attention": True, "cross_attn_heads": 2}
    config = ModelConfig(**{**sizes, **parts, "cross_attn_window": 4, **changes})
    model = LanguageModel(config, 257, make_generator(1, "weights"))
    # A fresh model's scores are nearly equal and copy the input; this makes its choices plain and varied.
    with torch.no_grad():
        model.embedding.weight.mul_(5)
        for block in model.blocks:
            (block.mixer.out_proj if hasattr(block, "mixer") else block.output).weight.mul_(20)
    return model


@pytest.fixture(scope="module")
def model():
    return build()


def write(model, prompt=PROMPT, *, seed=0, **options):
    options = {"max_tokens": 16, "end_of_text": END, **options}
    return [token for _, token in generate_batch(model, [prompt], generators=[make_generator(seed, "draw")], **options)]


def tensors(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [] if tree is None else list(itertools.chain.from_iterable(map(tensors, tree)))


def test_the_same_seed_writes_the_same_text_and_another_seed_another(model):
    assert write(model, seed=5) == write(model, seed=5)
    assert write(model, seed=5) != write(model, seed=6)


def test_greedy_text_is_what_the_whole_sequence_predicts(model):
    written = write(model, temperature=0.0)
    tokens = torch.tensor([PROMPT + written])
    with torch.no_grad():
        best = model(tokens, resets_BT=tokens == END).logits_BTV[0].argmax(dim=-1).tolist()
    assert best[len(PROMPT) - 1 : -1] == written
    assert len(set(written)) > 6


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_the_size_of_the_prefill_chunks_changes_nothing(model, chunk, monkeypatch):
    options = {"temperature": 0.0, "max_tokens": 6}
    at_once, after_end = write(model, **options), write(model, [*PROMPT, END], **options)
    monkeypatch.setattr("mambrane.measure.generation.PREFILL_CHUNK_TOKENS", chunk)
    assert write(model, **options) == at_once
    assert write(model, [*PROMPT, END], **options) == after_end


def test_memory_does_not_grow_with_the_text(model):
    def sizes(num_tokens):
        tokens = torch.arange(num_tokens)[None] % 256
        return [tensor.shape for tensor in tensors(prefill(model, tokens, END).state)]

    assert sizes(8) == sizes(1000)
    assert sizes(8) != []


def test_a_document_boundary_in_the_prompt_clears_the_state(model):
    assert write(model, [*PROMPT, END], temperature=0.0) == write(model, [END], temperature=0.0)


def test_a_document_boundary_read_token_by_token_clears_the_state_of_its_row_only(model):
    # The first prompt is shorter, so the second one is read step by step while the first text is being written.
    prompts = [PROMPT[:3], [*PROMPT, END]]
    generators = [make_generator(row, "draw") for row in range(2)]
    pairs = list(generate_batch(model, prompts, max_tokens=16, end_of_text=END, generators=generators, temperature=0.0))
    assert [token for row, token in pairs if row == 1] == write(model, [END], temperature=0.0)
    assert [token for row, token in pairs if row == 0] == write(model, PROMPT[:3], temperature=0.0)


def test_texts_in_a_batch_are_those_written_alone(model):
    prompts = [PROMPT, [END, *b"a"], [END, *b"much longer than these"]]
    generators = [make_generator(row, "draw") for row in range(3)]
    batch = list(generate_batch(model, prompts, max_tokens=12, end_of_text=END, generators=generators))
    for row, prompt in enumerate(prompts):
        assert [token for r, token in batch if r == row] == write(model, prompt, seed=row, max_tokens=12)


@pytest.mark.parametrize(("small_step_products", "expected"), [(1_000_000_000, 1), (1, 2)])
def test_a_small_step_takes_one_thread_and_leaves_the_number_as_it_was(
    model, monkeypatch, small_step_products, expected
):
    monkeypatch.setattr("mambrane.kernels.threads.SMALL_STEP_PRODUCTS", small_step_products)
    seen, before = [], torch.get_num_threads()
    handle = model.blocks[0].register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        written = write(model, max_tokens=4)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        handle.remove()
    assert seen == [2, *[expected] * 3]
    assert written == write(model, max_tokens=4)


def test_tokens_come_one_by_one_and_the_mode_comes_back(model):
    model.train()
    generators = [make_generator(0, "draw")]
    tokens = generate_batch(model, [PROMPT], max_tokens=100_000, end_of_text=END, generators=generators)
    assert len(list(itertools.islice(tokens, 3))) == 3
    tokens.close()
    del tokens
    assert model.training


def test_weights_get_no_gradient_and_the_global_generator_is_left_alone(model):
    before = torch.get_rng_state()
    write(model, max_tokens=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("backbone", ["cfc", "ltc"])
def test_liquid_populations_write_too(backbone):
    assert len(write(build(liquid_backbone=backbone, liquid_units=6), max_tokens=4)) == 4
