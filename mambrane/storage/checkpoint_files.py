"""One checkpoint as files: encoded in memory, written into a folder of its own, read back once it is verified."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mambrane.storage.atomic_files import Chunk, sync_folder, write_new_file
from mambrane.storage.manifest import (
    FILE_NAME,
    MANIFEST_NAME,
    CheckpointDamaged,
    Manifest,
    check_file,
    read_manifest,
)
from mambrane.storage.state_files import (
    StateTree,
    decode_state,
    encode_state,
    host_tensor,
    read_safetensors,
    safetensors_chunks,
    total_bytes,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A verified checkpoint in memory."""

    path: Path
    step: int
    parts: dict[str, StateTree]
    weights: dict[str, dict[str, Tensor]]


class PreparedSave(NamedTuple):
    """Everything a save will write, in memory."""

    step: int
    files: dict[str, list[Chunk]]

    @property
    def num_bytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(total_bytes(chunks) for chunks in self.files.values())


def prepare(
    step: int,
    parts: Mapping[str, StateTree],
    *,
    weights: Mapping[str, Mapping[str, Tensor]],
    copy: bool = False,
) -> PreparedSave:
    """Encode what a save will write; with `copy`, later changes of the tensors do not reach it.

    Raises:
        TypeError: a part holds something that is no state.
    """
    files: dict[str, list[Chunk]] = {}
    for name, state in parts.items():
        encoded = encode_state(state, copy=copy)
        files[f"{name}.json"] = [encoded.json]
        if encoded.tensors:
            files[f"{name}.safetensors"] = safetensors_chunks(encoded.tensors)
    for name, tensors in weights.items():
        assert f"{name}.json" not in files, f"{name} names both a part and weights"
        host = {key: host_tensor(tensor, f"{name}/{key}", copy=copy) for key, tensor in tensors.items()}
        files[f"{name}.safetensors"] = safetensors_chunks(host, {"format": "pt"})
    assert step >= 0, step
    assert all(FILE_NAME.fullmatch(name) and name != MANIFEST_NAME for name in files), list(files)
    return PreparedSave(step, files)


def write_folder(folder: Path, prepared: PreparedSave) -> None:
    """Write a whole checkpoint and make it last; only its name is still provisional."""
    os.mkdir(folder)
    records = {name: write_new_file(folder / name, chunks) for name, chunks in sorted(prepared.files.items())}
    manifest = Manifest(step=prepared.step, files=records)
    write_new_file(folder / MANIFEST_NAME, [manifest.to_bytes()])
    sync_folder(folder)


def read_folder(folder: Path, manifest: Manifest) -> Checkpoint:
    """Read the files of a verified checkpoint: X.json makes X a part, X.safetensors alone makes it weights."""
    tensors = {Path(name).stem: _read(folder / name) for name in manifest.files if name.endswith(".safetensors")}
    names = [Path(name).stem for name in manifest.files if name.endswith(".json")]
    parts = {name: _read(folder / f"{name}.json", tensors.pop(name, {})) for name in names}
    return Checkpoint(path=folder, step=manifest.step, parts=parts, weights=tensors)


def read_verified_part(folder: Path, name: str) -> StateTree | None:
    """Return a part without tensors of a checkpoint, alone; None where the checkpoint has no such part.

    Raises:
        CheckpointDamaged: the manifest or the file of the part is not as it was written.
        CheckpointVersionError: it was written by another version of the format.
    """
    file = folder / f"{name}.json"
    record = read_manifest(folder).files.get(file.name)
    if record is None:
        return None
    check_file(file, record, contents=True)
    return _read(file, {})


def _read(file: Path, tensors: Mapping[str, Tensor] | None = None) -> StateTree:
    """Read one file; both readers know data only, so bytes of any other kind end here."""
    try:
        return read_safetensors(file) if tensors is None else decode_state(file.read_bytes(), tensors)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointDamaged(file, expected="a state or weights", found=f"cannot be read: {error}") from error
