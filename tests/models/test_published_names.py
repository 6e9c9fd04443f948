"""Published names beside ours, in both directions."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.models.config import ModelConfig
from mambrane.models.published_names import is_published, our_name, published_name, published_settings


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.embeddings.weight", "embedding.weight"),
        ("backbone.layers.12.mixer.A_log", "blocks.12.mixer.A_log"),
        ("backbone.norm_f.weight", "norm.weight"),
        ("lm_head.weight", "head.weight"),
    ],
)
def test_a_name_there_and_back(theirs, ours):
    assert our_name(theirs) == ours
    assert published_name(ours) == theirs


def test_published_weights_are_known_by_their_backbone():
    assert is_published({"backbone.norm_f.weight": torch.ones(1)})
    assert not is_published({"blocks.0.norm.weight": torch.ones(1)})


def test_settings_say_the_sizes_that_the_layers_have():
    config = ModelConfig(block_pattern="mamba", hidden_dim=32, num_layers=3, mamba_d_state=4, mamba_expand=2)
    settings = published_settings(config, 11, end_of_text=10)
    assert (settings["hidden_size"], settings["num_hidden_layers"], settings["vocab_size"]) == (32, 3, 11)
    assert (settings["intermediate_size"], settings["time_step_rank"]) == (64, 2)
    assert settings["eos_token_id"] == 10


@pytest.mark.parametrize("pattern", ["hybrid", "mamba,mamba2"])
def test_a_pattern_that_transformers_does_not_know_is_refused(pattern):
    with pytest.raises(UserError, match="transformers knows no such model"):
        published_settings(ModelConfig(block_pattern=pattern, num_layers=2), 11, end_of_text=10)
