"""Weights to start from: those of a run, of a folder that left one, or published ones; their sizes and tokenizer too.

    --init-from RUN | FOLDER | hf:OWNER/MODEL

A run takes over by name what fits and says what does not. Where its model is not said otherwise, it has the sizes and
the tokenizer of the other. Around a published Mamba of version 1 or 2 stands the hybrid block, in which every way from
the neurons to the rest starts at zero: at birth its logits are the published ones. A run writes down what it started
from as initial.json, by content: the source may move, or be gone once there is a checkpoint.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.config import INITIAL_TOKENIZER, check_tokenizer_of_task
from mambrane.data.tokenizer import Tokenizer, read_tokenizer, tokenizer_hash
from mambrane.models.config import ModelConfig
from mambrane.models.fitting import take_weights
from mambrane.models.language_model import LanguageModel
from mambrane.models.pretrained import local_folder, read_pretrained
from mambrane.settings.config import RunConfig
from mambrane.settings.saved_config import read_configuration
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.manifest import file_sha256
from mambrane.storage.run_folder import RunFolder

PLAIN_SIZES = (
    "hidden_dim", "num_layers", "vocab_size", "tie_embeddings", "mamba_expand", "mamba_d_state", "mamba_d_conv",
    "mamba_dt_rank", "mamba_head_dim", "mamba_groups",
)  # fmt: skip
"""What a hybrid shares with the plain Mamba that it is built around."""


class Source(NamedTuple):
    """A model to start from."""

    config: ModelConfig
    weights: dict[str, Tensor]
    tokenizer: Tokenizer | None


def read_source(name: str) -> Source:
    """Return the model of a run, of a folder or of the hub.

    Raises:
        UserError: it is not there, or holds no model that we know.
    """
    if not _is_run(name):
        found = read_pretrained(name)
        return Source(found.config, found.weights, found.tokenizer)
    folder = RunFolder(Path(name))
    config = read_configuration(folder)
    checkpoint = Checkpoints(folder.checkpoints_folder).load_newest()
    if checkpoint is None:
        raise UserError(f"{name} has no checkpoint yet", wanted="a run that has trained", way_out="train it first")
    weights = {**checkpoint.weights["model"], **checkpoint.weights.get("ema", {})}
    return Source(config.model, weights, read_tokenizer(folder.tokenizer_file))


def shaped_like(base: RunConfig, name: str, chosen: Mapping[str, Any] | None = None) -> RunConfig:
    """Return a configuration that starts from a model, with its sizes and its tokenizer; settings in `chosen` stay.

    Raises:
        UserError: there is no such model, or its tokenizer is missing and none was chosen.
    """
    chosen = chosen or {}
    source = read_source(name)
    is_plain = set(source.config.block_kinds) <= {"mamba", "mamba2"}
    is_to_be_hybrid = is_plain and base.model.block_pattern == "hybrid" and "block_pattern" not in chosen
    model = _around(base.model, source.config) if is_to_be_hybrid else source.config
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in chosen}
    data = base.data
    if "tokenizer" not in chosen:
        if source.tokenizer is None:
            raise UserError(
                f"--init-from {name}: no tokenizer lies beside its weights",
                wanted="the tokenizer that the weights were trained with",
                way_out="put its tokenizer.json into the folder, or name it: --tokenizer hf:EleutherAI/gpt-neox-20b",
            )
        data = dataclasses.replace(data, tokenizer=INITIAL_TOKENIZER)
    return dataclasses.replace(
        base,
        run=dataclasses.replace(base.run, init_from=name),
        data=data,
        model=dataclasses.replace(base.model, **values),
    )


def place_hash(config: RunConfig) -> list[str]:
    """Return the hash of the initial weights where the folder of the run is named by it; an empty list elsewhere."""
    return [weights_hash(config.run.init_from)] if config.run.init_from and not config.run.output_dir else []


def weights_hash(name: str) -> str:
    """Return a hash of the content of weights to start from.

    Raises:
        UserError: there are none.
    """
    if _is_run(name):
        files = sorted(max(Path(name, "checkpoints").glob("step-*[0-9]")).glob("*.safetensors"))
        files = [file for file in files if file.stem in ("model", "ema")]
    else:
        folder = local_folder(name)
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def initial_tokenizer(config: RunConfig) -> Tokenizer | None:
    """Return the tokenizer of the model that a run starts from, where it is to have that; else None.

    Raises:
        UserError: there is no such model, or its tokenizer is not made for the task.
    """
    if config.data.tokenizer != INITIAL_TOKENIZER:
        return None
    tokenizer = read_source(config.run.init_from).tokenizer
    if tokenizer is not None:
        check_tokenizer_of_task(config.run.task, tokenizer.name)
    return tokenizer


def start_from(
    config: RunConfig,
    folder: RunFolder,
    model: LanguageModel,
    tokenizer: Tokenizer,
    events: EventLog,
    *,
    starts_over: bool = False,
) -> None:
    """Give a fresh model the weights that its run starts from, and say what fitted.

    A run that is under way has its own, unless a task is left that starts over from the first ones.

    Emits "initial_weights", with every name and a `message`.

    Raises:
        UserError: nothing fits, or the run here started from other weights.
    """
    if not config.run.init_from:
        return
    record = folder.path / "initial.json"
    started = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    is_under_way = any(folder.checkpoints_folder.glob("step-*"))
    is_same_name = started.get("source") == config.run.init_from
    # Of a run under way the name is enough: a run that it started from may have gone on since.
    if (started or is_under_way) and (starts_over or not (is_under_way and is_same_name)):
        _require_same(config, folder, started)
    if is_under_way and not starts_over:
        return
    source = read_source(config.run.init_from)
    same = source.tokenizer is None or tokenizer_hash(source.tokenizer) == tokenizer_hash(tokenizer)
    fit = take_weights(model, source.weights, same_tokenizer=same, source=config.run.init_from)
    if is_under_way:
        return
    content = {"source": config.run.init_from, "content_hash": weights_hash(config.run.init_from), **fit._asdict()}
    atomic_write_text(record, json.dumps(content, indent=2) + "\n")
    events.emit("initial_weights", message=fit.sentence(config.run.init_from), **content)


def _require_same(config: RunConfig, folder: RunFolder, started: Mapping[str, Any]) -> None:
    """Refuse to go on with a run as if it had started from other weights than it did."""
    if weights_hash(config.run.init_from) != started.get("content_hash"):
        raise UserError(
            f"--init-from {config.run.init_from}: the run in {folder.path} started from "
            f"{started.get('source', 'weights of its own')}, whose content was another",
            wanted="the same weights, to go on with that run",
            way_out="another --output-dir",
        )


def _is_run(name: str) -> bool:
    return Path(name, "checkpoints").is_dir()


def _around(hybrid: ModelConfig, plain: ModelConfig) -> ModelConfig:
    """Return a hybrid of the sizes of a plain Mamba: heads and neurons are as many as fit."""
    dim, channels = plain.hidden_dim, plain.mamba_expand * plain.hidden_dim
    fitting: dict[str, Any] = {
        "num_gate_heads": _largest_divisor(dim, hybrid.num_gate_heads),
        "cross_attn_heads": _largest_divisor(max(dim // 2, 1), hybrid.cross_attn_heads),
        "spiking_units": min(hybrid.spiking_units, channels // 2),
        "liquid_units": min(hybrid.liquid_units, channels // 2),
    }
    sizes: dict[str, Any] = {name: getattr(plain, name) for name in PLAIN_SIZES}
    version: Literal[1, 2] = 1 if plain.block_kinds[0] == "mamba" else 2
    return dataclasses.replace(hybrid, use_mamba=True, mamba_version=version, **sizes, **fitting)


def _largest_divisor(width: int, most: int) -> int:
    return max(count for count in range(1, most + 1) if width % count == 0)
