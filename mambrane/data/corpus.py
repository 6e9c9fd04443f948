"""The text of a domain in the cache: read, capped, without duplicates, and split once.

A folder holds all documents one after another (text.bin), where they and each split's documents lie (read.npy,
train.npy, heldout.npy: start and length), hashes of the lines and passages of the training text (lines.npy,
passages.npy) and a record of which file went where. It is found by the names, sizes and times of the source files and
by the domains before it, whose documents it leaves out; so a second run opens it without reading the text again, and a
changed file leads to a new one.
"""

import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.printable import printable
from mambrane.data.cache import CacheDamaged, hash_of, obtain_folder
from mambrane.data.config import DataConfig
from mambrane.data.documents import CutText
from mambrane.data.heldout_copy import hash_of_documents
from mambrane.data.overlap import lines_of, passages_of
from mambrane.data.selection import (
    FULL_RATIO,
    Extent,
    bytes_by_file,
    cap_extents,
    read_documents,
    split_documents,
    text_digest,
)
from mambrane.data.source_files import DomainSource, SourceFile, status_of
from mambrane.data.text_size import bytes_there
from mambrane.data.tokens_on_disk import changed_while_used
from mambrane.storage.atomic_files import FileRecord, write_new_file

FORMAT_VERSION = 6
_SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Corpus:
    """The two splits of a domain, as text."""

    folder: Path
    record: dict[str, Any]
    """name, content hashes, bytes and documents of each split, and the files with their split."""

    @property
    def name(self) -> str:
        """Name of the domain."""
        return self.record["name"]

    @property
    def content_hash(self) -> str:
        """Hash of the text of both splits; neither the names of files nor where they lie are part of it."""
        return self.record["content_hash"]

    def documents(self, split: str) -> Iterator[bytes]:
        """Yield the documents of "train", "heldout" or "read" (all of them, whole) in the order they were read.

        Raises:
            UserError: the cache changed since this text was opened.
        """
        path = self.folder / "text.bin"
        try:
            # Read and not mapped: a mapped file that shrinks ends the process without a word.
            with path.open("rb") as text:
                for start, length in np.load(self.folder / f"{split}.npy").tolist():
                    text.seek(start)
                    document = text.read(length)
                    if len(document) < length:
                        raise changed_while_used(path)
                    yield document
        except OSError as error:
            raise changed_while_used(path) from error

    def training_hashes(self, of: str) -> np.ndarray:
        """Return the sorted hashes of the "lines" or "passages" of the training text."""
        return np.load(self.folder / f"{of}.npy")

    def split_hash(self, split: str) -> str:
        """Return the content hash of one split."""
        return self.record[split]["content_hash"]


def cached_corpus(
    source: DomainSource, config: DataConfig, cache_dir: Path, events: EventLog, earlier: Sequence[Corpus] = ()
) -> Corpus:
    """Return the text of a domain, read from its files only if the cache does not hold it whole.

    Args:
        source: the domain.
        config: what to read and how to split it.
        cache_dir: folder for texts.
        events: receives "file_skipped" and "text_read" if the text is read, and what the cache has to say.
        earlier: domains before this one; none of their documents is read again.

    Raises:
        UserError: a file cannot be read, the domain is empty, or it cannot be split.
    """
    return obtain_folder(
        cache_dir / "texts" / hash_of([*_stamp(source, config), [corpus.folder.name for corpus in earlier]]),
        what=f"the text of {source.name}",
        open_whole=lambda folder: _open(folder, source.name),
        write=lambda folder: _write(folder, source, config, events, earlier),
        events=events,
    )


def _stamp(source: DomainSource, config: DataConfig) -> list[Any]:
    """Return all that decides the text, without reading it."""
    limits = [config.max_domain_bytes, config.max_heldout_bytes, config.heldout_fraction]
    return [FORMAT_VERSION, source.name, limits, [_file_stamp(file) for file in source.files]]


def _file_stamp(file: SourceFile) -> list[Any]:
    stamp = [str(file.path), file.relative, file.read.__name__, file.kin]
    if file.is_remote:
        return stamp
    status = status_of(file)
    return [*stamp, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _write(
    folder: Path, source: DomainSource, config: DataConfig, events: EventLog, earlier: Sequence[Corpus]
) -> dict[str, FileRecord]:
    files: dict[str, FileRecord] = {}
    stamp = _stamp(source, config)
    seen = {text_digest(document) for corpus in earlier for document in corpus.documents("read")}
    extents, cut_files, files["text.bin"] = _write_text(
        folder / "text.bin", source, config.max_domain_bytes, events, seen
    )
    if _stamp(source, config) != stamp:
        raise UserError(
            f"domain {source.name}: a file of it changed while it was read",
            wanted="files that stay as they are until they are read",
            way_out="run the same command again when nothing writes to them",
        )
    if not extents:
        raise UserError(
            f"domain {source.name}: no text in it ({len(source.files)} files read)",
            wanted="at least one file that is not empty and that no domain before it holds",
            way_out="put text into it, or leave this domain out",
        )
    # Nobody else knows the name of this new file, so it cannot shrink while it is mapped.
    with (folder / "text.bin").open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as text:
        train, heldout = split_documents(extents, text, source, config.heldout_fraction)
        splits = {"train": train, "heldout": cap_extents(heldout, text, config.max_heldout_bytes)}
        if not splits["heldout"]:
            raise UserError(
                f"domain {source.name}: --max-heldout-bytes {config.max_heldout_bytes} leaves nothing of the "
                f"{_num_bytes(heldout):,} held-out bytes",
                wanted="room for a character at least, better for thousands",
                way_out="a larger --max-heldout-bytes, or 0, which uses all",
            )
        record = {
            "name": source.name,
            "bytes_there": bytes_there(
                source, bytes_by_file(extents), cut_files, is_capped=config.max_domain_bytes > 0
            ),
            "bytes_read": len(text),
            "is_capped": bool(cut_files) or 0 < FULL_RATIO * config.max_domain_bytes <= len(text),
            "heldout_bytes_left_out": _num_bytes(heldout) - _num_bytes(splits["heldout"]),
            **{name: _split_record(part, text) for name, part in splits.items()},
            "files": _file_records(splits, source, text),
        }
        arrays = {name: _positions(part) for name, part in {**splits, "read": extents}.items()}
        arrays["lines"] = np.unique(lines_of(_documents(train, text)).hashes)
        arrays["passages"] = np.unique(np.concatenate([passages_of(document) for document in _documents(train, text)]))
    for name, array in arrays.items():
        encoded = io.BytesIO()
        np.save(encoded, array)
        files[f"{name}.npy"] = write_new_file(folder / f"{name}.npy", [encoded.getvalue()])
    record["content_hash"] = hash_of([record["train"], record["heldout"]])
    files["record.json"] = write_new_file(folder / "record.json", [json.dumps(record, indent=1).encode()])
    events.emit("text_read", domain=source.name, files=len({extent.file for extent in extents}))
    return files


def _documents(extents: Sequence[Extent], text: mmap) -> Iterator[bytes]:
    return (text[extent.start : extent.start + extent.length] for extent in extents)


def _positions(extents: Sequence[Extent]) -> np.ndarray:
    return np.array([(extent.start, extent.length) for extent in extents], dtype=np.int64).reshape(-1, 2)


def _write_text(
    path: Path, source: DomainSource, max_bytes: int, events: EventLog, seen: Collection[bytes]
) -> tuple[list[Extent], frozenset[int], FileRecord]:
    """Write the documents one after another; return where each lies, and the files that were not read to their end."""
    told: set[SourceFile] = set()

    def skipped(file: SourceFile, reason: str) -> None:
        # A domain that is capped is read in several passes; a file is told once.
        if file not in told:
            told.add(file)
            events.emit("file_skipped", domain=source.name, path=printable(file.path), count=1, reason=reason)

    extents: list[Extent] = []
    cut_files: set[int] = set()

    def texts() -> Iterator[bytes]:
        start = 0
        for document in read_documents(source, max_bytes, skipped, seen):
            extents.append(Extent(document.file, start, len(document.text)))
            start += len(document.text)
            if isinstance(document.text, CutText):
                cut_files.add(document.file)
            yield document.text

    record = write_new_file(path, texts())
    return extents, frozenset(cut_files), record


def _split_record(extents: Sequence[Extent], text: mmap) -> dict[str, Any]:
    return {
        "num_bytes": _num_bytes(extents),
        "num_documents": len(extents),
        "content_hash": hash_of_documents(_documents(extents, text)),
    }


def _num_bytes(extents: Sequence[Extent]) -> int:
    return sum(extent.length for extent in extents)


def _file_records(splits: dict[str, list[Extent]], source: DomainSource, text: mmap) -> list[dict[str, Any]]:
    """Return which file went where; a file that was cut stands in both splits."""
    records = []
    for name, extents in splits.items():
        by_file: dict[int, list[Extent]] = {}
        for extent in extents:
            by_file.setdefault(extent.file, []).append(extent)
        for index, part in by_file.items():
            records.append({"path": source.files[index].relative, "split": name, **_split_record(part, text)})
    return records


def _open(folder: Path, name: str) -> Corpus:
    """Return the text in a cache folder whose files are as they were written.

    Raises:
        CacheDamaged: the record does not fit the text, or is that of another domain.
    """
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    num_bytes = (folder / "text.bin").stat().st_size
    counts = [record["bytes_read"], record["heldout_bytes_left_out"], record["bytes_there"] or 0]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise CacheDamaged(f"{folder}: the record holds counts of {counts}")
    if (record["name"], record["bytes_read"]) != (name, num_bytes):
        raise CacheDamaged(f"{folder}: the record is that of another text")
    if record["content_hash"] != hash_of([record[split] for split in _SPLITS]):
        raise CacheDamaged(f"{folder}: the record does not fit its hash")
    for split in (*_SPLITS, "read"):
        starts, lengths = np.load(folder / f"{split}.npy").T
        if (starts < 0).any() or (lengths < 0).any() or (starts + lengths > num_bytes).any():
            raise CacheDamaged(f"{folder}: {split} documents lie outside the text")
        if split != "read" and (len(starts), lengths.sum()) != (
            record[split]["num_documents"],
            record[split]["num_bytes"],
        ):
            raise CacheDamaged(f"{folder}: the {split} documents are not as many as recorded")
    for of in ("lines", "passages"):
        if np.load(folder / f"{of}.npy").dtype != np.uint64:
            raise CacheDamaged(f"{folder}: {of} are no hashes")
    return Corpus(folder, record)
