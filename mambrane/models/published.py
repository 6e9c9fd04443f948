"""Published weights of Mamba, version 1: into a language model whose pattern is plain Mamba blocks.

The names are those of state-spaces/mamba and Hugging Face (`backbone.layers.0.mixer.A_log`, ...).
Source: Gu & Dao 2023, arXiv 2312.00752, section 3.4.
"""

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel


def from_published(weights: dict[str, Tensor]) -> LanguageModel:
    """Return the model whose weights were published under the names of state-spaces/mamba or Hugging Face.

    Sizes are read off the tensors.

    Raises:
        UserError: tensors are missing or left over.
    """
    weights = {name.replace("backbone.embedding.", "backbone.embeddings."): value for name, value in weights.items()}
    try:
        vocab_size, dim = weights["backbone.embeddings.weight"].shape
        expanded, d_state = weights["backbone.layers.0.mixer.A_log"].shape
        d_conv = weights["backbone.layers.0.mixer.conv1d.weight"].shape[-1]
    except KeyError as error:
        raise UserError(
            f"these weights hold no tensor {error}",
            wanted="a Mamba version 1 checkpoint as published by state-spaces/mamba or Hugging Face",
            way_out="check the file",
        ) from error
    config = ModelConfig(
        block_pattern="mamba",
        hidden_dim=dim,
        num_layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("backbone.layers.")),
        mamba_expand=expanded // dim,
        mamba_d_state=d_state,
        mamba_d_conv=d_conv,
    )
    model = LanguageModel(config, vocab_size, torch.Generator())
    renamed = {_our_name(name): value for name, value in weights.items() if name != "lm_head.weight"}
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    if missing or unexpected:
        raise UserError(
            f"weights that do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}",
            wanted="all tensors of a Mamba version 1 checkpoint and no others",
            way_out="check the file",
        )
    return model


def _our_name(name: str) -> str:
    for theirs, ours in (
        ("backbone.embeddings.", "embedding."),
        ("backbone.norm_f.", "norm."),
        ("backbone.layers.", "blocks."),
    ):
        name = name.replace(theirs, ours)
    return name
