"""The manifest of a checkpoint: which files it has, how long they are and what their SHA-256 is.

    {"files": {"model.safetensors": {"num_bytes": ..., "sha256": ...}, ...}, "format": "mambrane-checkpoint",
     "format_version": 1, "sha256": ..., "step": 40}

It is written last, so a folder without one is no checkpoint. Its own "sha256" is that of the manifest without that
field; these two rules and the field "format_version" stay the same in every later version, so that a damaged manifest
can always be told from one of another version. Fields beside these are passed over.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.ordinary_files import read_ordinary
from mambrane.storage.atomic_files import BLOCK_BYTES, FileRecord
from mambrane.storage.state_files import decode_state, encode_state

MANIFEST_NAME = "manifest.json"
FORMAT = "mambrane-checkpoint"
FORMAT_VERSION = 1

FILE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\.(json|safetensors)")
"""The only kinds of file a checkpoint may hold; neither can carry code."""
LEFT_BY_OTHERS = re.compile(r"\..*|desktop\.ini|thumbs\.db", re.IGNORECASE | re.DOTALL)
"""What file managers, network disks and programs that copy folders leave beside the files; nothing reads them."""


class CheckpointDamaged(UserError):
    """A file of a checkpoint is not what its manifest says."""

    def __init__(self, file: Path, *, expected: str, found: str) -> None:
        self.file, self.expected, self.reason = file, expected, found
        super().__init__(f"{file}: {found}", wanted=expected, way_out="an older checkpoint, or a copy of this one")


class CheckpointVersionError(UserError):
    """A checkpoint was written by another version of the format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a checkpoint consists of."""

    step: int
    """Applied steps of the run when it was taken."""
    files: dict[str, FileRecord]
    """Every file of the folder but the manifest itself."""

    def to_bytes(self) -> bytes:
        """Return the manifest file."""
        body = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "step": self.step,
            "files": {name: record._asdict() for name, record in self.files.items()},
        }
        return seal(body)


def seal(body: dict[str, Any]) -> bytes:
    """Return the body as JSON with its own SHA-256 in it."""
    return encode_state({**body, "sha256": hashlib.sha256(encode_state(body).json).hexdigest()}).json


def read_sealed(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the body that `seal` wrote to a file, and whether it is byte for byte what was written.

    Raises:
        OSError: the file cannot be read, or is none.
        ValueError: it holds no such body.
    """
    content = read_ordinary(path)
    body = decode_state(content, {})
    if not isinstance(body, dict):
        raise ValueError("no fields")
    return body, content == seal({key: value for key, value in body.items() if key != "sha256"})


def file_records(files: Any) -> dict[str, FileRecord]:  # noqa: ANN401 -- what a file says
    """Return what a list of files says of each; raises KeyError, TypeError, ValueError or AttributeError."""
    return {name: FileRecord(int(record["num_bytes"]), str(record["sha256"])) for name, record in files.items()}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a checkpoint; the files themselves are not looked at.

    Raises:
        CheckpointDamaged: there is none, or it is not as it was written.
        CheckpointVersionError: it is whole, but of a version that this program does not know.
    """
    file = folder / MANIFEST_NAME
    try:
        body, is_sealed = read_sealed(file)
        version = (body["format"], body["format_version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        found = str(error) if isinstance(error, OSError) else "not readable as a manifest"
        raise CheckpointDamaged(file, expected="a manifest", found=found) from error
    if not is_sealed:
        raise CheckpointDamaged(file, expected="the manifest as it was written", found="its SHA-256 differs")
    if version != (FORMAT, FORMAT_VERSION):
        raise CheckpointVersionError(
            f"{folder}: written in the format {version[0]}, version {version[1]}",
            wanted=f"{FORMAT}, version {FORMAT_VERSION}",
            way_out="use the version of mambrane that wrote it, or another --output-dir",
        )
    try:
        return Manifest(step=int(body["step"]), files=file_records(body["files"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointDamaged(file, expected="a manifest", found=f"fields missing or wrong: {error}") from error


def check_folder(folder: Path, manifest: Manifest, *, contents: bool) -> None:
    """Compare a folder with its manifest: names, sizes and, with `contents`, every byte.

    Raises:
        CheckpointDamaged: a file is missing, not listed, of a kind that is never read, or differs.
    """
    for name in sorted(manifest.files):
        if FILE_NAME.fullmatch(name) is None or name == MANIFEST_NAME:
            raise CheckpointDamaged(folder / name, expected="*.json and *.safetensors only", found="never read")
    try:
        present = {name for name in os.listdir(folder) if LEFT_BY_OTHERS.fullmatch(name) is None}
        unlisted = present - {*manifest.files, MANIFEST_NAME}
    except OSError as error:
        raise CheckpointDamaged(folder, expected="a folder", found=str(error)) from error
    if unlisted:
        raise CheckpointDamaged(folder / min(unlisted), expected="no such file", found="not listed in the manifest")
    for name, record in sorted(manifest.files.items()):
        check_file(folder / name, record, contents=contents)


def check_file(file: Path, record: FileRecord, *, contents: bool) -> None:
    """Compare one file with its record; raises CheckpointDamaged."""
    try:
        status = os.lstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointDamaged(file, expected="an ordinary file", found="something else")
        if status.st_size != record.num_bytes:
            raise CheckpointDamaged(file, expected=f"{record.num_bytes} bytes", found=f"{status.st_size} bytes")
        if contents and (sha256 := file_sha256(file)) != record.sha256:
            raise CheckpointDamaged(file, expected=f"SHA-256 {record.sha256}", found=f"SHA-256 {sha256}")
    except OSError as error:
        raise CheckpointDamaged(file, expected=f"{record.num_bytes} bytes", found=str(error)) from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
