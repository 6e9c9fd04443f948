"""What a model remembers of a text, as one file: to go on from there later, without reading the text again.

FILE    safetensors: the tensors of the state; in its metadata the tree that they belong to, the tokens that were
        drawn and not read yet, a hash of the weights that made it, and a hash of all of this
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelState
from mambrane.storage.atomic_files import atomic_write_chunks
from mambrane.storage.state_files import decode_state, encode_state, read_safetensors, safetensors_chunks


class KeptState(NamedTuple):
    """A text up to some point."""

    state: ModelState
    unread: list[int]
    """Tokens that belong to it and have not been read yet."""
    weights_hash: str
    """Of the model that has read it."""


def save_state(path: Path, kept: KeptState) -> None:
    """Write a file in one step: a reader finds the old one or the new one whole.

    Raises:
        StorageError: the disk refused.
    """
    # Tensors of inference mode may not be looked at from outside.
    encoded = encode_state({"state": kept.state, "unread": kept.unread, "weights": kept.weights_hash}, copy=True)
    names = {name: f"tensor-{index}" for index, name in enumerate(encoded.tensors)}
    metadata = {"tree": encoded.json.decode(), "names": json.dumps(names)}
    tensors = {names[name]: value for name, value in encoded.tensors.items()}
    metadata["sha256"] = _hash_of_file(metadata, tensors)
    atomic_write_chunks(path, safetensors_chunks(tensors, metadata))


def require_place(path: Path) -> None:
    """Raise UserError where no file can be written, before a text is written for it."""
    if path.is_dir():
        raise UserError(f"--state {path} is a folder", wanted="a file", way_out=f"--state {path / 'text.state'}")
    if not path.parent.is_dir():
        raise UserError(
            f"--state {path}: there is no folder {path.parent}",
            wanted="a file in a folder that exists",
            way_out="make the folder, or name another",
        )


def load_state(path: Path, model: LanguageModel) -> KeptState:
    """Return the text that a file keeps, as this model can go on with it.

    Raises:
        UserError: the file is damaged, or a model of other sizes wrote it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        numbered = read_safetensors(path)
        if metadata.pop("sha256") != _hash_of_file(metadata, numbered):
            raise ValueError("its contents do not have the hash that was written with them")
        names = {value: name for name, value in json.loads(metadata["names"]).items()}
        tensors = {names[name]: value for name, value in numbered.items()}
        tree = decode_state(metadata["tree"].encode(), tensors)
        state, unread, weights_hash = tree["state"], [int(token) for token in tree["unread"]], tree["weights"]
    # A file of any content: every wrong type or shape shows as one of these.
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"--state {path}: {type(error).__name__}: {str(error)[:100]}",
            wanted="a file that --state has written",
            way_out="another file, or remove it to start a new text",
        ) from error
    device = next(model.parameters()).device
    with torch.inference_mode():
        template = model(torch.zeros(1, 1, dtype=torch.long, device=device)).state
    try:
        return KeptState(_like(template, state, device), unread, weights_hash)
    except ValueError as error:
        raise UserError(
            f"--state {path}: {error}", wanted="the model that wrote it", way_out="another file, or that model"
        ) from error


def hash_of_weights(model: LanguageModel) -> str:
    """Return a hash that differs where any weight does."""
    return _hash_of({}, model.state_dict())


def _hash_of_file(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    return _hash_of(metadata, dict(sorted(tensors.items())))


def _hash_of(words: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(words.items()):
        digest.update(f"{name}\n{value}\n".encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _like(template: Any, tree: Any, device: torch.device) -> Any:  # noqa: ANN401 -- any tree of states
    """Return a tree of lists as the named tuples that it was."""
    if isinstance(template, Tensor):
        if not isinstance(tree, Tensor) or (tree.shape, tree.dtype) != (template.shape, template.dtype):
            raise ValueError("a model of other sizes wrote it")
        return tree.to(device)
    if template is None:
        if tree is not None:
            raise ValueError("a model of other parts wrote it")
        return None
    if not isinstance(tree, (list, tuple)) or len(tree) != len(template):
        raise ValueError("a model of other parts wrote it")
    items = [_like(part, value, device) for part, value in zip(template, tree, strict=True)]
    return type(template)(*items) if hasattr(template, "_fields") else tuple(items)
