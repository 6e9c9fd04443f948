"""A language model as a folder that travels: settings, weights and tokenizer, in the files that the field knows.

    config.json              {"model_type": "mambrane", "vocab_size": ..., "model": settings of ModelConfig}
    model.safetensors        weights by name, float32
    tokenizer.json, tokenizer_config.json
    README.md                the model card, where one was given

Folders of published Mamba, version 1 and 2, of state-spaces or Hugging Face are read too, as plain Mamba blocks.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.data.tokenizer import Tokenizer
from mambrane.data.tokenizer_files import read_tokenizer_files, tokenizer_files
from mambrane.models.config import ModelConfig
from mambrane.models.published_names import is_published, read_published
from mambrane.storage.atomic_files import atomic_write_chunks, atomic_write_text, make_folder
from mambrane.storage.hub import fetch_folder, is_hub_name
from mambrane.storage.state_files import read_safetensors, safetensors_chunks

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
MODEL_TYPE = "mambrane"
PUBLISHED_TOKENIZER = "EleutherAI/gpt-neox-20b"
"""The tokenizer of every model of state-spaces, whose repositories hold none."""


class Pretrained(NamedTuple):
    """What a folder holds."""

    config: ModelConfig
    vocab_size: int
    weights: dict[str, Tensor]
    tokenizer: Tokenizer | None
    """None where the folder has none."""
    source: Path
    """The folder, where it lies on this machine."""


def write_model_folder(
    folder: Path,
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    tokenizer: Tokenizer | None = None,
    card: str | None = None,
) -> Path:
    """Write a model into a folder, which is made where there is none, and return it; files of other names stay."""
    make_folder(folder)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    atomic_write_chunks(folder / WEIGHTS_FILE, safetensors_chunks(tensors, {"format": "pt"}))
    for name, content in ({} if tokenizer is None else tokenizer_files(tokenizer)).items():
        atomic_write_text(folder / name, content)
    if card is not None:
        atomic_write_text(folder / CARD_FILE, card)
    # Last, so that a folder with a config.json is whole.
    atomic_write_text(folder / CONFIG_FILE, json.dumps(settings, indent=2) + "\n")
    return folder


def own_settings(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """Return the config.json of a model of ours."""
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["LanguageModel"],
        "vocab_size": vocab_size,
        "model": dataclasses.asdict(config),
    }


def read_pretrained(name: Path | str) -> Pretrained:
    """Return the model that a folder, or a repository of the hub, holds.

    Raises:
        UserError: it is not there, or holds no model that we know.
    """
    folder = local_folder(name)
    settings = read_settings(folder)
    weights = read_weights(folder)
    tokenizer = read_tokenizer_files(folder, settings)
    if settings.get("model_type") == MODEL_TYPE:
        return Pretrained(_own_config(folder, settings), int(settings["vocab_size"]), weights, tokenizer, folder)
    if not is_published(weights):
        raise UserError(
            f"{name}: its weights are named {', '.join(sorted(weights)[:2])}, ...",
            wanted="a model of Mambrane, or a published Mamba of version 1 or 2",
            way_out="another model",
        )
    published = read_published(weights, settings)
    tokenizer = tokenizer or _tokenizer_elsewhere(name)
    return Pretrained(published.config, published.vocab_size, published.weights, tokenizer, folder)


def pretrained_tokenizer(name: Path | str) -> Tokenizer:
    """Return the tokenizer of a folder or of a repository of the Hugging Face hub.

    Raises:
        UserError: there is none.
    """
    folder = fetch_folder(str(name), only_settings=True) if is_hub_name(str(name)) else local_folder(name)
    tokenizer = read_tokenizer_files(folder, read_settings(folder)) or _tokenizer_elsewhere(name)
    if tokenizer is None:
        raise UserError(
            f"{name}: no tokenizer.json",
            wanted="the files of a tokenizer",
            way_out="the folder of an exported model, or a repository with a tokenizer.json",
        )
    return tokenizer


def local_folder(name: Path | str) -> Path:
    """Return the folder of a name, fetched where the name means the hub.

    Raises:
        UserError: there is none.
    """
    if is_hub_name(str(name)):
        return fetch_folder(str(name))
    if not Path(name).is_dir():
        raise UserError(f"{name}: no such folder", wanted="a folder, or hf:OWNER/MODEL", way_out="check the name")
    return Path(name)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the config.json of a folder of a model; empty where there is none.

    Raises:
        UserError: it is no JSON object.
    """
    file = folder / CONFIG_FILE
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise TypeError("not settings by name")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file}: {error}", wanted="the settings of a model", way_out="restore the file from a copy"
        ) from error
    return settings


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return all weights of a folder by name, float32: safetensors, in one file or in several, or pytorch_model.bin.

    Raises:
        UserError: there are none, one of several is missing, or a file is damaged.
    """
    files = _files_in(folder, "model*.safetensors") or _files_in(folder, "pytorch_model*.bin")
    if not files:
        raise UserError(
            f"{folder}: no weights",
            wanted="model.safetensors, or pytorch_model.bin",
            way_out="check the name of the folder; the folder of a run is named by itself, without checkpoints/",
        )
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            # Tensors only: nothing in the file can run.
            part = (
                read_safetensors(file)
                if file.suffix == ".safetensors"
                else torch.load(file, map_location="cpu", weights_only=True)
            )
            weights |= {name: value.float() for name, value in part.items()}
        # A file of any content: every library raises kinds of its own.
        except Exception as error:
            raise UserError(
                f"{file}: cannot be read ({type(error).__name__}: {str(error)[:100]})",
                wanted="the weights of a model",
                way_out="fetch or export the model again",
            ) from error
    return weights


def _files_in(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a model's weights of one kind; of several, those that their index names."""
    files = sorted(folder.glob(pattern))
    index = folder / f"{pattern.replace('*', '')}.index.json"
    if (len(files) == 1 and "-of-" not in files[0].name) or not index.exists():
        return files
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(
            f"{index}: {error}", wanted="the file of each tensor", way_out="fetch the model again"
        ) from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing and files:
        raise UserError(
            f"{folder}: {', '.join(missing)} of {len(names)} files of weights is not there",
            wanted=f"all that {index.name} names",
            way_out="fetch the model again",
        )
    return [folder / name for name in names] if files else []


def _tokenizer_elsewhere(name: Path | str) -> Tokenizer | None:
    """Return the tokenizer of a repository of state-spaces, which has none of its own; None for any other name."""
    if not str(name).removeprefix("hf:").startswith("state-spaces/") or not is_hub_name(str(name)):
        return None
    return read_tokenizer_files(fetch_folder(PUBLISHED_TOKENIZER, only_settings=True))


def _own_config(folder: Path, settings: Mapping[str, Any]) -> ModelConfig:
    try:
        return ModelConfig(**settings["model"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder / CONFIG_FILE}: {error}",
            wanted="the settings of a model of this version",
            way_out="use the version of Mambrane that wrote it",
        ) from error
