"""What a model remembers of a text, as one file: to go on from there later, without reading the text again.

FILE    safetensors: the tensors of the state; in its metadata the tree that they belong to, the tokens that were
        drawn and not read yet, and a hash of the weights that made it
"""

import hashlib
import json
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
    atomic_write_chunks(path, safetensors_chunks(tensors, metadata))


def load_state(path: Path, model: LanguageModel) -> KeptState:
    """Return the text that a file keeps, as this model can go on with it.

    Raises:
        UserError: the file is damaged, or a model of other sizes wrote it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        names = {value: name for name, value in json.loads(metadata["names"]).items()}
        tensors = {names[name]: value for name, value in read_safetensors(path).items()}
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
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
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
