"""Published weights of Mamba, version 1 and 2: their sizes, and their names beside ours, in both directions.

The names are those of state-spaces/mamba (`backbone.embedding.weight`) and Hugging Face (`backbone.embeddings.weight`,
`backbone.layers.0.mixer.A_log`, ...). Sizes are read off the tensors; what no tensor shows is read from the published
config.json, of either family, where there is one.
Source: Gu & Dao 2023, arXiv 2312.00752, section 3.4; Dao & Gu 2024, arXiv 2405.21060, section 7.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.models.config import ModelConfig

EPSILON = 1e-5
"""What every published norm adds under its root, and ours too."""
_PREFIXES = (
    ("backbone.embeddings.", "embedding."),
    ("backbone.norm_f.", "norm."),
    ("backbone.layers.", "blocks."),
    ("lm_head.", "head."),
)
_FIXED: dict[str, tuple[Any, str]] = {
    "hidden_act": ("silu", "the activation silu"),
    "use_bias": (False, "projections without bias"),
    "rms_norm": (True, "RMS norms"),
    "layer_norm_epsilon": (EPSILON, f"norms with epsilon {EPSILON}"),
    "d_intermediate": (0, "no layers between the mixers"),
    "attn_layer_idx": ([], "no attention layers"),
    "time_step_scale": (1.0, "step sizes of scale 1"),
}
"""Settings of a published config.json with the one value that our layers have, and that value in words."""


class PublishedModel(NamedTuple):
    """Published weights as a language model of plain Mamba blocks takes them."""

    config: ModelConfig
    weights: dict[str, Tensor]
    """By our names, float32."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        return self.config.vocab_size


def is_published(weights: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of a published Mamba."""
    return any(name.startswith("backbone.") for name in weights)


def read_published(weights: Mapping[str, Tensor], settings: Mapping[str, Any] | None = None) -> PublishedModel:
    """Return published weights under our names, with the sizes of the model that they belong to.

    Raises:
        UserError: tensors are missing, or the model has parts that our blocks lack.
    """
    settings = settings or {}
    _refuse_other_parts(settings)
    named = {name.replace("backbone.embedding.", "backbone.embeddings."): value for name, value in weights.items()}
    try:
        vocab_size, dim = named["backbone.embeddings.weight"].shape
        A_log = named["backbone.layers.0.mixer.A_log"]
        conv = named["backbone.layers.0.mixer.conv1d.weight"]
        expanded = named["backbone.layers.0.mixer.out_proj.weight"].shape[1]
    except KeyError as error:
        raise UserError(
            f"these weights hold no tensor {error}",
            wanted="a Mamba checkpoint as published by state-spaces/mamba or Hugging Face",
            way_out="check the file",
        ) from error
    if expanded % dim:
        raise UserError(
            f"these weights expand {dim} channels to {expanded}", wanted="a whole factor", way_out="another checkpoint"
        )
    is_tied = "lm_head.weight" not in named or torch.equal(named["lm_head.weight"], named["backbone.embeddings.weight"])
    version = 1 if A_log.dim() == 2 else 2
    config = ModelConfig(
        block_pattern="mamba" if version == 1 else "mamba2",
        hidden_dim=dim,
        num_layers=1 + max(int(name.split(".")[2]) for name in named if name.startswith("backbone.layers.")),
        vocab_size=vocab_size,
        tie_embeddings=is_tied,
        mamba_expand=expanded // dim,
        mamba_d_conv=conv.shape[-1],
        **(_sizes_of_first(named, A_log) if version == 1 else _sizes_of_second(A_log, conv, expanded, settings)),
    )
    ours = {
        our_name(name): value.float() for name, value in named.items() if not (is_tied and name == "lm_head.weight")
    }
    for layer in range(config.num_layers):
        # A convolution without bias is one whose bias is zero.
        ours.setdefault(f"blocks.{layer}.mixer.conv1d.bias", torch.zeros(conv.shape[0]))
    return PublishedModel(config, ours)


def our_name(name: str) -> str:
    """Return what a published tensor is called here."""
    for theirs, ours in _PREFIXES:
        name = name.replace(theirs, ours)
    return name


def published_name(name: str) -> str:
    """Return what one of our tensors is called by Hugging Face."""
    for theirs, ours in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def published_settings(config: ModelConfig, vocab_size: int, *, end_of_text: int) -> dict[str, Any]:
    """Return the config.json with which transformers opens a model of these sizes.

    Raises:
        UserError: the pattern holds another kind of block, or both.
    """
    kinds = sorted(set(config.block_kinds))
    if kinds not in (["mamba"], ["mamba2"]):
        raise UserError(
            f"blocks {config.block_pattern}: transformers knows no such model",
            wanted="a model of plain Mamba blocks of one version: --block-pattern mamba or mamba2",
            way_out="--to folder, which LanguageModel.from_pretrained opens",
        )
    settings: dict[str, Any] = {
        "model_type": kinds[0],
        "architectures": ["MambaForCausalLM" if kinds == ["mamba"] else "Mamba2ForCausalLM"],
        "vocab_size": vocab_size,
        "hidden_size": config.hidden_dim,
        "state_size": config.mamba_d_state,
        "num_hidden_layers": config.num_layers,
        "expand": config.mamba_expand,
        "conv_kernel": config.mamba_d_conv,
        "layer_norm_epsilon": EPSILON,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "pad_token_id": end_of_text,
        "torch_dtype": "float32",
    }
    if kinds == ["mamba"]:
        return {
            **settings,
            "time_step_rank": config.dt_rank,
            "intermediate_size": config.mamba_expand * config.hidden_dim,
        }
    heads = config.mamba_expand * config.hidden_dim // config.head_dim
    return {**settings, "num_heads": heads, "head_dim": config.head_dim, "n_groups": config.mamba_groups}


def _sizes_of_first(named: Mapping[str, Tensor], A_log: Tensor) -> dict[str, Any]:
    return {
        "mamba_d_state": A_log.shape[1],
        "mamba_dt_rank": named["backbone.layers.0.mixer.dt_proj.weight"].shape[1],
    }


def _sizes_of_second(A_log: Tensor, conv: Tensor, expanded: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return state size, channels of a head and groups; the tensors show groups times state size only."""
    shared = (conv.shape[0] - expanded) // 2
    layer = settings.get("ssm_cfg") or {}
    groups = settings.get("n_groups", layer.get("ngroups", 1))
    sizes = {
        "mamba_d_state": settings.get("state_size", layer.get("d_state", shared // groups)),
        "mamba_head_dim": expanded // A_log.numel(),
        "mamba_groups": groups,
    }
    if sizes["mamba_d_state"] * groups != shared:
        raise UserError(
            f"config.json says {groups} groups of states of size {sizes['mamba_d_state']}, the weights hold {shared}",
            wanted="a config.json that belongs to the weights",
            way_out="check the two files",
        )
    return sizes


def _refuse_other_parts(settings: Mapping[str, Any]) -> None:
    for name, (value, words) in _FIXED.items():
        if name in settings and settings[name] != value:
            raise UserError(
                f"config.json says {name} {settings[name]}", wanted=words, way_out="another checkpoint of Mamba"
            )
    model_type = settings.get("model_type", "mamba")
    if model_type not in ("mamba", "mamba2"):
        raise UserError(
            f"config.json says model_type {model_type}", wanted="mamba or mamba2", way_out="another checkpoint"
        )
    # transformers writes what JSON lacks as {"__float__": "Infinity"}.
    limits = [
        float(x["__float__"] if isinstance(x, dict) else x) for x in settings.get("time_step_limit", (0, math.inf))
    ]
    if settings.get("model_type") == "mamba2" and (limits[0] > 0 or limits[1] < math.inf):
        raise UserError(
            f"config.json says time_step_limit {limits}",
            wanted="step sizes without limits",
            way_out="another checkpoint of Mamba 2",
        )
