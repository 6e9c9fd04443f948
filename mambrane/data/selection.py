"""Which documents of a domain are read, and which of them are held out.

Files are visited in a fixed pseudo-random order: sorted by a hash of their relative path. When a domain is capped,
every file visited gives at most one slice (a sixteenth of the cap, 4 to 64 KiB) and the allowance grows only if
the files run out before the cap is reached; so a capped domain is a fair sample of files, not one giant file.
Equal documents are read once, so that no text can stand in both splits.

Held out are whole files, in another fixed order, until about the wanted number of bytes is reached. If the files
are too large for that (a domain of one file, for example) the rest is the end of the largest remaining file, cut
between two documents or at a line end.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from mmap import mmap
from typing import NamedTuple

from mambrane.core.errors import UserError
from mambrane.data.documents import READ_ERRORS, cut_at_line_end
from mambrane.data.source_files import DomainSource, SourceFile

SKIPPED = Callable[[SourceFile, str], None]
"""Called with a file that is passed over, and the reason."""


class Document(NamedTuple):
    """A document and the number of its file in the source."""

    file: int
    text: bytes


class Extent(NamedTuple):
    """Where a document lies in the stored text of its domain, and the number of its file."""

    file: int
    start: int
    length: int


def read_documents(source: DomainSource, max_bytes: int, skipped: SKIPPED) -> Iterator[Document]:
    """Yield the documents of a domain, each text once; at most `max_bytes` in all (0: everything)."""
    order = sorted(range(len(source.files)), key=lambda index: _position(source.files[index], "order"))
    if max_bytes == 0:
        yield from _read(source, order, 0, 0, skipped)
        return
    allowance = min(max(max_bytes // 16, 4 * 1024), 64 * 1024)
    previous = -1
    while True:
        documents = list(_read(source, order, allowance, max_bytes, skipped))
        total = sum(len(document.text) for document in documents)
        if total >= 0.98 * max_bytes or total == previous:
            yield from documents
            return
        allowance, previous = min(allowance * 4, max_bytes), total


def split_documents(
    extents: Sequence[Extent], text: bytes | mmap, source: DomainSource, fraction: float
) -> tuple[list[Extent], list[Extent]]:
    """Return the train and the held-out extents, both in reading order.

    Raises:
        UserError: one of the two would be empty.
    """
    wanted = round(fraction * sum(extent.length for extent in extents))
    held_files = _whole_files(extents, source, wanted)
    train = [extent for extent in extents if extent.file not in held_files]
    heldout = [extent for extent in extents if extent.file in held_files]
    missing = wanted - sum(extent.length for extent in heldout)
    if missing > wanted / 2:
        train, tail = _take_tail(train, text, missing)
        heldout += tail
    if not train or not heldout:
        raise UserError(
            f"domain {source.name}: {sum(extent.length for extent in extents)} bytes of text cannot be split "
            f"with a held-out part of {fraction}: the {'held-out' if train else 'training'} split would be empty",
            wanted="some text in both splits",
            way_out="more text in this domain, or another --heldout-fraction",
        )
    return train, heldout


def cap_extents(extents: Sequence[Extent], text: bytes | mmap, max_bytes: int) -> list[Extent]:
    """Return the first extents that fit into `max_bytes` (0: all); the last is cut at a line end."""
    if max_bytes == 0:
        return list(extents)
    kept, remaining = [], max_bytes
    for extent in extents:
        length = len(cut_at_line_end(text[extent.start : extent.start + extent.length], remaining))
        kept += [extent._replace(length=length)] if length else []
        remaining -= length
        if length < extent.length:
            break
    return kept


def _read(
    source: DomainSource, order: Sequence[int], allowance: int, max_bytes: int, skipped: SKIPPED
) -> Iterator[Document]:
    seen: set[bytes] = set()
    total = 0
    for index in order:
        file = source.files[index]
        limit = min(allowance, max_bytes - total) if max_bytes else 0
        try:
            for text in file.read(file.path, limit):
                digest = hashlib.sha256(text).digest()
                if text.strip() and digest not in seen:
                    seen.add(digest)
                    total += len(text)
                    yield Document(index, text)
        except UserError as error:
            if not source.skips_bad_files:
                raise
            skipped(file, error.found)
        except READ_ERRORS as error:
            raise UserError(
                f"{file.path}: cannot be read ({error})",
                wanted="a readable file",
                way_out="repair it, change its permissions, or leave it out",
            ) from error
        if max_bytes and total >= 0.98 * max_bytes:
            return


def _whole_files(extents: Sequence[Extent], source: DomainSource, wanted: int) -> set[int]:
    """Return files with about `wanted` bytes in all: at most a quarter more, and if possible no quarter less."""
    num_bytes = bytes_by_file(extents)
    held, total = set(), 0
    for index in sorted(num_bytes, key=lambda index: _position(source.files[index], "split")):
        if total < 0.75 * wanted and total + num_bytes[index] <= 1.25 * wanted:
            held.add(index)
            total += num_bytes[index]
    return held


def _take_tail(train: Sequence[Extent], text: bytes | mmap, wanted: int) -> tuple[list[Extent], list[Extent]]:
    """Move about `wanted` bytes from the end of the largest file: whole documents, else part of the last one."""
    num_bytes = bytes_by_file(train)
    largest = max(num_bytes, key=lambda index: (num_bytes[index], -index))
    of_file = [extent for extent in train if extent.file == largest]
    others = [extent for extent in train if extent.file != largest]
    tail: list[Extent] = []
    missing = wanted
    while len(of_file) > 1 and of_file[-1].length <= missing:
        tail.insert(0, of_file.pop())
        missing -= tail[0].length
    if not tail:
        last = of_file.pop()
        whole = text[last.start : last.start + last.length]
        kept = len(cut_at_line_end(whole, max(last.length - wanted, 0)))
        parts = (last._replace(length=kept), last._replace(start=last.start + kept, length=last.length - kept))
        of_file += [parts[0]] if parts[0].length else []
        tail = [parts[1]] if parts[1].length else []
    return sorted(others + of_file, key=lambda extent: extent.start), tail


def bytes_by_file(extents: Sequence[Extent]) -> dict[int, int]:
    """Return how much text each file gave, by its number."""
    num_bytes: dict[int, int] = {}
    for extent in extents:
        num_bytes[extent.file] = num_bytes.get(extent.file, 0) + extent.length
    return num_bytes


def _position(file: SourceFile, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{file.relative}".encode()).digest()
