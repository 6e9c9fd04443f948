"""A plain Mamba language model: the ablation without spikes, and the home of published weights.

    x = embedding       x = x + mamba(norm(x)) for each layer       logits = embedding^T norm(x)

State names are those of state-spaces/mamba and Hugging Face (`backbone.layers.0.mixer.A_log`, ...).
Source: Gu & Dao 2023, arXiv 2312.00752, section 3.4.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.core.shapes import Logits, Resets, Tokens
from mambrane.layers.mamba import Mamba, MambaState
from mambrane.layers.norm import RmsNorm
from mambrane.models.initialisation import EMBEDDING_STD, PUBLISHED_EMBEDDING_STD, initialise
from mambrane.ops.linear import linear


class MambaOutput(NamedTuple):
    """What the plain Mamba language model returns."""

    logits_BTV: Logits
    state: tuple[MambaState, ...]
    activity: tuple[()]
    """Nothing spikes here."""


class MambaLanguageModel(nn.Module):
    """Mamba blocks on a residual stream, tied embedding and head."""

    def __init__(
        self,
        vocab_size: int,
        *,
        dim: int,
        num_layers: int,
        generator: torch.Generator,
        expand: int = 2,
        d_state: int = 16,
        d_conv: int = 4,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        options = {"expand": expand, "d_state": d_state, "d_conv": d_conv, "dt_rank": math.ceil(dim / 16)}
        self.norms = nn.ModuleList(RmsNorm(dim) for _ in range(num_layers))
        self.mixers = nn.ModuleList(Mamba(dim, **options) for _ in range(num_layers))
        self.norm = RmsNorm(dim)
        self.embedding.weight.no_weight_decay = True
        initialise(self, generator)
        with torch.no_grad():
            self.embedding.weight.mul_(PUBLISHED_EMBEDDING_STD / EMBEDDING_STD)
            for mixer in self.mixers:
                mixer.out_proj.weight.div_(math.sqrt(num_layers))

    def forward(
        self, tokens_BT: Tokens, *, state: tuple[MambaState, ...] | None = None, resets_BT: Resets | None = None
    ) -> MambaOutput:
        """Return logits [B, T, V] and the state of every layer."""
        states = (None,) * len(self.mixers) if state is None else state
        x_BTD = self.embedding(tokens_BT)
        new_states = []
        for norm, mixer, layer_state in zip(self.norms, self.mixers, states, strict=True):
            y_BTD, layer_state = mixer(norm(x_BTD), state=layer_state, resets_BT=resets_BT)
            x_BTD = x_BTD + y_BTD
            new_states.append(layer_state)
        logits_BTV = linear(self.norm(x_BTD), self.embedding.weight)
        return MambaOutput(logits_BTV, tuple(new_states), ())


def from_published(weights: dict[str, Tensor]) -> MambaLanguageModel:
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
    num_layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("backbone.layers."))
    model = MambaLanguageModel(
        vocab_size,
        dim=dim,
        num_layers=num_layers,
        generator=torch.Generator(),
        expand=expanded // dim,
        d_state=d_state,
        d_conv=d_conv,
    )
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
    name = name.replace("backbone.embeddings.", "embedding.").replace("backbone.norm_f.", "norm.")
    if name.startswith("backbone.layers."):
        _, _, index, module, *rest = name.split(".")
        return ".".join([{"mixer": "mixers", "norm": "norms"}[module], index, *rest])
    return name
