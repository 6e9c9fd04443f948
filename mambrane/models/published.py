"""Published weights of Mamba, version 1 or 2, as a language model whose pattern is plain Mamba blocks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.models.language_model import LanguageModel
from mambrane.models.published_names import read_published


def from_published(weights: dict[str, Tensor], settings: Mapping[str, Any] | None = None) -> LanguageModel:
    """Return the model whose weights were published under the names of state-spaces/mamba or Hugging Face.

    Sizes are read off the tensors.

    Raises:
        UserError: tensors are missing or left over, or the model has parts that our blocks lack.
    """
    published = read_published(weights, settings)
    model = LanguageModel(published.config, published.vocab_size, torch.Generator())
    missing, unexpected = model.load_state_dict(published.weights, strict=False)
    if missing or unexpected:
        raise UserError(
            f"weights that do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}",
            wanted="all tensors of a Mamba checkpoint and no others",
            way_out="check the file",
        )
    return model
