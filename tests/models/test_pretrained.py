"""A model as a folder: what is opened is what was saved, and what is no model is refused by name."""

import json

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.pretrained import pretrained_tokenizer, read_weights
from tests.models.modes import SMALL, build_awake
from tests.models.test_published import published_weights

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9]])
CONFIGS = {
    "hybrid": ModelConfig(**SMALL, use_mamba=True, use_cross_attention=True, use_adaptive_gating=True),
    "spiking only": ModelConfig(**SMALL),
    "mamba with a head of its own": ModelConfig(**SMALL, block_pattern="mamba", tie_embeddings=False, vocab_size=64),
    "mamba2 of two groups": ModelConfig(**SMALL, block_pattern="mamba2", mamba_head_dim=16, mamba_groups=2),
}


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_folder_opens_as_the_model_that_was_saved(name, tmp_path):
    model = build_awake(CONFIGS[name]).float().eval()
    assert model.save_pretrained(tmp_path / "model") == tmp_path / "model"
    opened = LanguageModel.from_pretrained(tmp_path / "model").eval()
    assert opened.config == model.config
    assert torch.equal(opened(TOKENS).logits_BTV, model(TOKENS).logits_BTV)


def test_tokenizer_and_card_lie_beside_the_weights(tmp_path):
    model = build_awake(CONFIGS["hybrid"]).float()
    model.save_pretrained(tmp_path, tokenizer=BytesTokenizer(), card="# mine\n")
    assert pretrained_tokenizer(tmp_path).state_dict() == {"kind": "bytes"}
    assert (tmp_path / "README.md").read_text() == "# mine\n"


@torch.no_grad()
def test_weights_of_state_spaces_in_a_pytorch_file_open_as_plain_mamba(tmp_path):
    weights = published_weights()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 16, "n_layer": 2, "vocab_size": 11, "rms_norm": True}))
    opened = LanguageModel.from_pretrained(tmp_path)
    assert (opened.config.block_pattern, opened.vocab_size) == ("mamba", 11)
    assert torch.equal(opened.blocks[1].mixer.A_log, weights["backbone.layers.1.mixer.A_log"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no weights"),
        ({"model.safetensors": b"nonsense"}, "cannot be read"),
        ({"pytorch_model.bin": b"nonsense"}, "cannot be read"),
        ({"config.json": b"[1]"}, "not settings by name"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_by_its_file(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        LanguageModel.from_pretrained(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        LanguageModel.from_pretrained(tmp_path / "nowhere")


def test_a_pickle_that_would_run_something_is_not_opened(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("harm",))

    torch.save({"backbone.embedding.weight": Harm()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_act": "gelu"}, "the activation silu"),
        ({"use_bias": True}, "projections without bias"),
        ({"layer_norm_epsilon": 1e-6}, "epsilon"),
        ({"model_type": "falcon_mamba"}, "mamba or mamba2"),
        ({"attn_layer_idx": [3]}, "no attention layers"),
    ],
)
def test_published_parts_that_our_blocks_lack_are_refused(tmp_path, settings, words):
    torch.save(published_weights(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=words):
        LanguageModel.from_pretrained(tmp_path)


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused():
    with pytest.raises(UserError, match="a row of the embedding for each token"):
        LanguageModel(ModelConfig(**SMALL, vocab_size=30), 31, torch.Generator())
