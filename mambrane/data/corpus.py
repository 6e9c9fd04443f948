"""The text of a domain in the cache: read, capped, without duplicates, and split once.

A folder holds all documents one after another (text.bin), where each split's documents lie (train.npy, heldout.npy:
start and length) and a record of which file went where. It is found by the names, sizes and times of the source
files, so a second run opens it without reading the text again, and a changed file leads to a new one.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache import discard_folder, hash_of, publish_folder
from mambrane.data.config import DataConfig
from mambrane.data.selection import Extent, cap_extents, read_documents, split_documents
from mambrane.data.sources import DomainSource, SourceFile

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """The two splits of a domain, as text."""

    folder: Path
    record: dict[str, Any]
    """name, content hashes, bytes and documents of each split, and the files with their split."""

    def documents(self, split: str) -> Iterator[bytes]:
        """Yield the documents of "train" or "heldout" in the order they were read."""
        text = np.memmap(self.folder / "text.bin", dtype=np.uint8, mode="r")
        for start, length in np.load(self.folder / f"{split}.npy"):
            yield text[start : start + length].tobytes()

    def split_hash(self, split: str) -> str:
        """Return the content hash of one split."""
        return self.record[split]["content_hash"]


def cached_corpus(source: DomainSource, config: DataConfig, cache_dir: Path, events: EventLog) -> Corpus:
    """Return the text of a domain, read from its files only if the cache does not hold it.

    Raises:
        UserError: a file cannot be read, the domain is empty, or it cannot be split.
    """
    folder = cache_dir / "texts" / hash_of(_stamp(source, config))
    corpus = _open(folder)
    if corpus is None:
        discard_folder(folder)
        publish_folder(folder, lambda unfinished: _write(unfinished, source, config, events))
        corpus = _open(folder)
    assert corpus is not None, f"{folder} was just written"
    return corpus


def _stamp(source: DomainSource, config: DataConfig) -> list[Any]:
    """Return all that decides the text, without reading it."""
    limits = [config.max_domain_bytes, config.max_heldout_bytes, config.heldout_fraction]
    return [FORMAT_VERSION, source.name, limits, [_file_stamp(file) for file in source.files]]


def _file_stamp(file: SourceFile) -> list[Any]:
    status = os.stat(file.path)
    return [file.relative, file.read.__name__, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _write(folder: Path, source: DomainSource, config: DataConfig, events: EventLog) -> None:
    def skipped(file: SourceFile, reason: str) -> None:
        events.emit("file_skipped", domain=source.name, path=str(file.path), reason=reason)

    extents: list[Extent] = []
    start = 0
    with (folder / "text.bin").open("wb") as file:
        for document in read_documents(source, config.max_domain_bytes, skipped):
            file.write(document.text)
            extents.append(Extent(document.file, start, len(document.text)))
            start += len(document.text)
    if not extents:
        raise UserError(
            f"domain {source.name}: no text in its {len(source.files)} files",
            wanted="at least one file that is not empty",
            way_out="put text into it, or leave this domain out",
        )
    text = (folder / "text.bin").read_bytes()
    train, heldout = split_documents(extents, text, source, config.heldout_fraction)
    heldout = cap_extents(heldout, text, config.max_heldout_bytes)
    splits = {"train": train, "heldout": heldout}
    for name, part in splits.items():
        positions = np.array([(extent.start, extent.length) for extent in part], dtype=np.int64)
        np.save(folder / f"{name}.npy", positions)
    record = {
        "name": source.name,
        "text_bytes": start,
        **{name: _split_record(part, text) for name, part in splits.items()},
        "files": _file_records(splits, source, text),
    }
    record["content_hash"] = hash_of([record["train"], record["heldout"]])
    (folder / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _split_record(extents: Sequence[Extent], text: bytes) -> dict[str, Any]:
    return {
        "num_bytes": sum(extent.length for extent in extents),
        "num_documents": len(extents),
        "content_hash": _content_hash(extents, text),
    }


def _content_hash(extents: Sequence[Extent], text: bytes) -> str:
    """Hash documents with their lengths, so that moving a border changes the hash."""
    digest = hashlib.sha256()
    for extent in extents:
        digest.update(extent.length.to_bytes(8, "little"))
        digest.update(text[extent.start : extent.start + extent.length])
    return digest.hexdigest()[:32]


def _file_records(splits: dict[str, list[Extent]], source: DomainSource, text: bytes) -> list[dict[str, Any]]:
    """Return which file went where; a file that was cut stands in both splits."""
    records = []
    for name, extents in splits.items():
        by_file: dict[int, list[Extent]] = {}
        for extent in extents:
            by_file.setdefault(extent.file, []).append(extent)
        for index, part in by_file.items():
            records.append({"path": source.files[index].relative, "split": name, **_split_record(part, text)})
    return records


def _open(folder: Path) -> Corpus | None:
    """Return the text in a cache folder, or None if it is not there or not whole."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        is_whole = os.path.getsize(folder / "text.bin") == record["text_bytes"]
        is_whole &= all(len(np.load(folder / f"{name}.npy")) == record[name]["num_documents"] for name in _SPLITS)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return Corpus(folder, record) if is_whole else None


_SPLITS = ("train", "heldout")
