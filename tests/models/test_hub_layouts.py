"""The repositories of published Mamba as the hub holds them: which files, which names, where the tokenizer lies.

config.json is that of the repository named, with smaller sizes. Sources: state-spaces/mamba-130m, mamba2-130m and
mamba-130m-hf and AntonV/mamba2-130m-hf on huggingface.co; from 5 GB on, transformers writes several files and an index
(state-spaces/mamba-2.8b-hf).
"""

import io
import json

import pytest
import torch
from safetensors.torch import save

from mambrane.core.errors import UserError
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokenizer_files import tokenizer_files
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.models.pretrained import PUBLISHED_TOKENIZER, read_pretrained
from mambrane.models.published_names import published_name, published_settings
from tests.storage.fake_hub import fake_hub

pytest.importorskip("huggingface_hub")

ROWS = 264
"""Of the embedding: more than the tokenizer has, a multiple of 8, as published."""
FIRST = ModelConfig(block_pattern="mamba", hidden_dim=16, num_layers=2, mamba_d_state=4, vocab_size=ROWS)
SECOND = ModelConfig(
    block_pattern="mamba2", hidden_dim=16, num_layers=2, mamba_d_state=4, mamba_head_dim=16, vocab_size=ROWS
)
TOKENIZER = {name: content.encode() for name, content in tokenizer_files(BytesTokenizer()).items()}
TOKENS = torch.tensor([[72, 101, 108, 108, 111]])
OF_STATE_SPACES = {
    "mamba": {
        "d_model": 16, "n_layer": 2, "vocab_size": 257, "ssm_cfg": {}, "rms_norm": True, "residual_in_fp32": True,
        "fused_add_norm": True, "pad_vocab_size_multiple": 8,
    },
    "mamba2": {
        "d_model": 16, "d_intermediate": 0, "n_layer": 2, "vocab_size": 257, "ssm_cfg": {"layer": "Mamba2"},
        "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True,
        "pad_vocab_size_multiple": 8, "tie_embeddings": True,
    },
}  # fmt: skip
OF_TRANSFORMERS = {
    "mamba": {"time_step_scale": 1.0, "time_step_floor": 1e-4, "rescale_prenorm_residual": False, "rms_norm": True},
    "mamba2": {"time_step_limit": [0.0, float("inf")], "chunk_size": 256, "norm_before_gate": True, "rms_norm": True},
}
"""What stands in their config.json beside what a model of these sizes needs."""


def model_of(config: ModelConfig) -> LanguageModel:
    return LanguageModel(config, 257, torch.Generator().manual_seed(3)).eval()


def pickled(weights: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(weights, file)
    return file.getvalue()


def repository_of_state_spaces(model: LanguageModel) -> dict[str, bytes]:
    """Weights in a pickle, the tied head written out too; no tokenizer."""
    names = {name: published_name(name).replace("embeddings", "embedding") for name in model.state_dict()}
    weights = {names[name]: value for name, value in model.state_dict().items()}
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    settings = OF_STATE_SPACES[model.config.block_pattern]
    return {"config.json": json.dumps(settings).encode(), "pytorch_model.bin": pickled(weights), "README.md": b""}


def repository_of_transformers(model: LanguageModel, num_files: int = 1) -> dict[str, bytes]:
    """Safetensors in one file, or in several with an index, beside the tokenizer and a pickle of the same."""
    weights = {published_name(name): value.contiguous() for name, value in model.state_dict().items()}
    settings = published_settings(model.config, ROWS, end_of_text=256) | OF_TRANSFORMERS[model.config.block_pattern]
    files = {"config.json": json.dumps(settings).encode(), "generation_config.json": b"{}", **TOKENIZER}
    if num_files == 1:
        return {**files, "model.safetensors": save(weights), "pytorch_model.bin": b"not fetched"}
    parts = [f"model-{number + 1:05}-of-{num_files:05}.safetensors" for number in range(num_files)]
    place = {name: parts[number % num_files] for number, name in enumerate(weights)}
    index = {"metadata": {"total_size": 0}, "weight_map": place}
    for part in parts:
        files[part] = save({name: weights[name] for name in weights if place[name] == part})
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


LAYOUTS = {
    "state-spaces/mamba-130m": lambda: (model_of(FIRST), repository_of_state_spaces(model_of(FIRST))),
    "state-spaces/mamba2-130m": lambda: (model_of(SECOND), repository_of_state_spaces(model_of(SECOND))),
    "state-spaces/mamba-130m-hf": lambda: (model_of(FIRST), repository_of_transformers(model_of(FIRST))),
    "AntonV/mamba2-130m-hf": lambda: (model_of(SECOND), repository_of_transformers(model_of(SECOND))),
    "state-spaces/mamba-2.8b-hf": lambda: (model_of(FIRST), repository_of_transformers(model_of(FIRST), 3)),
}


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_a_published_repository_opens_by_its_name_with_its_tokenizer(name, monkeypatch, tmp_path):
    model, files = LAYOUTS[name]()
    repositories = {
        name: files,
        PUBLISHED_TOKENIZER: {"config.json": b"{}", **TOKENIZER, "model.safetensors": b"large"},
    }
    with fake_hub(repositories, monkeypatch, tmp_path) as requests:
        found = read_pretrained(f"hf:{name}")
        opened = LanguageModel.from_pretrained(name).eval()
    assert torch.equal(opened(TOKENS).logits_BTV, model(TOKENS).logits_BTV)
    assert found.tokenizer is not None
    assert found.tokenizer.vocab_size == 257
    asked = {path.rpartition("/")[2] for path, _ in requests if "/resolve/" in path}
    assert ("pytorch_model.bin" in asked) == ("model.safetensors" not in files and "pytorch_model.bin" in files)
    # The tokenizer of state-spaces lies in a repository of 40 GB: without its weights.
    assert not any("gpt-neox-20b" in path and path.endswith(".safetensors") for path, _ in requests)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "model-00002-of-00003.safetensors",
            None,
            "model-00002-of-00003.safetensors of 3 files of weights is not there",
        ),
        ("model.safetensors.index.json", b"[]", "model.safetensors.index.json"),
    ],
)
def test_of_several_files_one_that_is_missing_is_named(tmp_path, name, content, words):
    files = repository_of_transformers(model_of(FIRST), 3)
    for file, body in (files | {name: content}).items():
        if body is not None:
            (tmp_path / file).write_bytes(body)
    with pytest.raises(UserError, match=words):
        read_pretrained(tmp_path)
