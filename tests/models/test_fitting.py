"""Weights taken over by name: what fits is taken, what does not is said."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.models.config import ModelConfig
from mambrane.models.fitting import take_weights
from mambrane.models.language_model import LanguageModel


def make_model(seed, **sizes):
    usual = {"hidden_dim": 8, "num_layers": 2, "block_pattern": "mamba", "mamba_d_state": 2}
    return LanguageModel(ModelConfig(**usual | sizes), 11, make_generator(seed, "weights"))


def test_equal_models_take_everything_and_nothing_is_left():
    model, other = make_model(0), make_model(1)
    fit = take_weights(model, other.state_dict(), same_tokenizer=True, source="other")
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))
    assert (fit.anew, fit.other_shape, fit.left_over) == ((), (), ())


def test_another_tokenizer_leaves_the_embedding_and_a_deeper_model_leaves_its_last_block():
    model, other = make_model(0), make_model(1, num_layers=3)
    embedding = model.embedding.weight.clone()
    fit = take_weights(model, other.state_dict(), same_tokenizer=False, source="other")
    assert torch.equal(model.embedding.weight, embedding)
    assert all(name.startswith("blocks.2.") for name in fit.left_over)
    assert "embedding.weight (another tokenizer)" in fit.other_shape


def test_other_sizes_are_named_with_both_shapes_and_equal_parts_of_blocks_once():
    fit = take_weights(make_model(0), make_model(1, mamba_d_state=3).state_dict(), same_tokenizer=True, source="x")
    sentence = fit.sentence("x")
    assert "blocks.*.mixer.A_log ([16, 3] there, [16, 2] here)" in sentence
    assert sentence.count("A_log") == 1


def test_weights_of_something_else_are_refused():
    with pytest.raises(UserError, match="none of its 1 weights fits"):
        take_weights(make_model(0), {"other": torch.ones(2)}, same_tokenizer=True, source="x")
