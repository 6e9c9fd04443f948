"""Copies of held-out text in the folder of a run, so that the run can be measured when its text is gone.

A file a split, named by the content hash of the split: a line of JSON with the length of each document, then the
documents one after another. Whoever reads a copy computes the hash again, so a damaged copy is no copy.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mambrane.data.tokenizer import Tokenizer
from mambrane.data.tokens import TokenFile, token_file_of_split
from mambrane.storage.atomic_files import atomic_write_bytes, make_folder, storage_errors


def write_copy(folder: Path, split_hash: str, documents: Iterable[bytes]) -> None:
    """Write the copy of a split, unless a whole one is there.

    Raises:
        StorageError: the disk refused.
    """
    if read_copy(folder, split_hash) is not None:
        return
    texts = list(documents)
    assert hash_of_documents(texts) == split_hash, "documents of another split"
    lengths = json.dumps([len(text) for text in texts]).encode()
    with storage_errors("writing", folder):
        make_folder(folder)
    atomic_write_bytes(_file(folder, split_hash), b"\n".join([lengths, b"".join(texts)]))


def read_copy(folder: Path, split_hash: str) -> list[bytes] | None:
    """Return the documents of a split, or None where no whole copy of it is there."""
    # From a file that somebody may have changed, it must not name a file elsewhere.
    if not split_hash.isalnum():
        return None
    try:
        head, _, body = _file(folder, split_hash).read_bytes().partition(b"\n")
        texts, start = [], 0
        for length in json.loads(head):
            texts.append(body[start : start + length])
            start += length
    # Of a damaged head anything may be wrong.
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return texts if start == len(body) and hash_of_documents(texts) == split_hash else None


def remove_copies(folder: Path, but: Sequence[str] = ()) -> None:
    """Remove every copy but those of the splits named.

    Raises:
        StorageError: the disk refused.
    """
    kept = {_file(folder, split_hash).name for split_hash in but}
    with storage_errors("removing", folder):
        for file in folder.glob("*.text") if folder.is_dir() else ():
            if file.name not in kept:
                file.unlink()


def token_file_of_copy(folder: Path, split_hash: str, tokenizer: Tokenizer) -> TokenFile | None:
    """Return a kept split as the tokens that the run measured, or None where no whole copy of it is there.

    Raises:
        UserError: the tokenizer loses text; it is not the one of the run.
    """
    texts = read_copy(folder, split_hash)
    return None if texts is None else token_file_of_split(texts, split_hash, tokenizer)


def hash_of_documents(documents: Iterable[bytes]) -> str:
    """Return the content hash of a split: of its documents with their lengths, so that a moved border changes it."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(len(document).to_bytes(8, "little"))
        digest.update(document)
    return digest.hexdigest()[:32]


def _file(folder: Path, split_hash: str) -> Path:
    return folder / f"{split_hash}.text"
