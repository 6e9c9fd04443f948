"""Which documents of a domain are read, and which of them are held out.

Files are visited in a fixed pseudo-random order: sorted by a hash of their relative path. When a domain is capped,
every file visited gives at most one slice (a 64th of the cap, 4 to 64 KiB) and the allowance grows only if the
files run out before the cap is reached; so a capped domain is a fair sample of files, not one giant file.
Equal documents are read once, over all domains, so that no text can stand in both splits.

Held out are whole families of files, in another fixed order, until about the wanted number of bytes is reached. A
family is one file unless its source says otherwise (the fonts of a typeface; each block of a long table). A family is
passed over while there are others, if more than a fiftieth of it stands line by line in other families: the model would
be measured on what it has learned. If the families are too large (a domain of one file, for example) the rest is the
end of the largest remaining file, cut between two documents or at a line end; in a long line, at a character.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from mmap import mmap
from typing import NamedTuple

from mambrane.core.errors import UserError
from mambrane.core.printable import printable_path
from mambrane.data.documents import READ_ERRORS, CutText, character_start, cut_at_line_end
from mambrane.data.overlap import in_several, lines_of
from mambrane.data.source_files import DomainSource, SourceFile

MAX_REPEATED_RATIO = 0.02
"""Part of a held-out family, in bytes, that may stand in other families as long as there is a better choice."""
FULL_RATIO = 0.98
"""Part of a domain's cap from which on it counts as reached."""
NUM_HELDOUT_SLICES = 8
"""Documents that a capped held-out split is taken from, at least, where there are so many."""

OnSkip = Callable[[SourceFile, str], None]
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


def read_documents(
    source: DomainSource, max_bytes: int, skipped: OnSkip, seen: Collection[bytes] = ()
) -> Iterator[Document]:
    """Yield the documents of a domain, each text once; at most `max_bytes` in all (0: everything).

    Args:
        source: the domain.
        max_bytes: where to stop.
        skipped: told of files that are passed over.
        seen: `text_digest` of each document of the earlier domains; none of them is read again.
    """
    order = sorted(range(len(source.files)), key=lambda index: _hash_of("order", source.files[index].relative))
    digests = set(seen)
    if max_bytes == 0:
        for index in order:
            yield from _new_documents(index, _texts(source, index, 0, skipped), digests)
        return
    allowance = min(max(max_bytes // 64, 4 * 1024), 64 * 1024)
    if len(source.files) == 1:
        # There is nothing to sample: it is read once, as far as the growth below would come.
        while allowance < FULL_RATIO * max_bytes:
            allowance = min(allowance * 4, max_bytes)
    previous = -1
    read_whole: dict[int, list[bytes]] = {}
    while True:
        documents = _sample(source, order, allowance, max_bytes, skipped, set(seen), read_whole)
        total = sum(len(document.text) for document in documents)
        if total >= FULL_RATIO * max_bytes or total == previous or allowance >= max_bytes:
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
    families = _families(extents, source)
    held = _whole_families(families, text, wanted)
    train, heldout = (
        sorted(
            (extent for family, part in families.items() if (family in held) is is_held for extent in part),
            key=lambda extent: extent.start,
        )
        for is_held in (False, True)
    )
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
    """Return the middle parts of documents, at most `max_bytes` in all (0: every document whole).

    They are cut at line ends, or at characters where lines are so long that less than half of it would be kept.
    A document gives at most an eighth of it, more only where there are too few documents. It is the middle because
    documents of one kind begin alike.
    """
    if max_bytes == 0:
        return list(extents)
    num_bytes = sum(extent.length for extent in extents)
    kept = _middles_of_some(extents, text, max_bytes, at_line_ends=True)
    if sum(extent.length for extent in kept) < min(max_bytes, num_bytes) / 2:
        kept = _middles_of_some(extents, text, max_bytes, at_line_ends=False)
    return kept


def text_digest(text: bytes) -> bytes:
    """Return what equal documents are known by."""
    return hashlib.sha256(text).digest()


def _middles_of_some(
    extents: Sequence[Extent], text: bytes | mmap, max_bytes: int, *, at_line_ends: bool
) -> list[Extent]:
    """Return the middles of as many documents as there can be with about `max_bytes` in all."""
    allowance = -(-max_bytes // NUM_HELDOUT_SLICES)
    while True:
        kept = _middles(extents, text, max_bytes, allowance, at_line_ends=at_line_ends)
        if allowance >= max_bytes or sum(extent.length for extent in kept) > 0.9 * max_bytes:
            return kept
        allowance *= 2


def _middles(
    extents: Sequence[Extent], text: bytes | mmap, max_bytes: int, allowance: int, *, at_line_ends: bool
) -> list[Extent]:
    kept, remaining = [], max_bytes
    for extent in extents:
        whole = text[extent.start : extent.start + extent.length]
        skipped = max(extent.length - allowance, 0) // 2
        limit = min(allowance, remaining)
        if at_line_ends:
            first = whole.find(b"\n", skipped - 1) + 1 if skipped else 0
            # A short piece of a document is made up for by the others.
            length = len(cut_at_line_end(whole[first:], limit, least=0))
        else:
            first = character_start(whole, skipped)
            length = len(cut_at_line_end(whole[first:], limit, least=limit))
        kept += [extent._replace(start=extent.start + first, length=length)] if length else []
        remaining -= length
    return kept


def _sample(
    source: DomainSource,
    order: Sequence[int],
    allowance: int,
    max_bytes: int,
    skipped: OnSkip,
    digests: set[bytes],
    read_whole: dict[int, list[bytes]],
) -> list[Document]:
    """Return documents of about `max_bytes` in all, at most `allowance` of a file.

    Files that were read to their end stand in `read_whole`, in this call and the next, and are not read again; a file
    that was cut is read again from its start, as far as it is now allowed.
    """
    documents: list[Document] = []
    total = 0
    for index in order:
        limit = min(allowance, max_bytes - total)
        texts = read_whole.get(index)
        if texts is None or sum(map(len, texts)) > limit:
            texts = list(_texts(source, index, limit, skipped))
            if not any(isinstance(text, CutText) for text in texts):
                read_whole[index] = texts
        new = list(_new_documents(index, texts, digests))
        documents += new
        total += sum(len(document.text) for document in new)
        if total >= FULL_RATIO * max_bytes:
            break
    return documents


def _new_documents(index: int, texts: Iterable[bytes], digests: set[bytes]) -> Iterator[Document]:
    """Yield the texts of a file that are not blank and whose digest is new, and add it."""
    for text in texts:
        digest = text_digest(text)
        if text.strip() and digest not in digests:
            digests.add(digest)
            yield Document(index, text)


def _texts(source: DomainSource, index: int, limit: int, skipped: OnSkip) -> Iterator[bytes]:
    file = source.files[index]
    try:
        yield from file.read(file.path, limit)
    except UserError as error:
        if not source.skips_bad_files:
            raise
        skipped(file, error.found)
    except READ_ERRORS as error:
        raise UserError(
            f"{printable_path(file.path)}: cannot be read ({error})",
            wanted="a readable file",
            way_out="repair it, change its permissions, or leave it out",
        ) from error


def _families(extents: Sequence[Extent], source: DomainSource) -> dict[str, list[Extent]]:
    """Return what is learned or held out together, by a name that does not depend on the order of reading."""
    families: dict[str, list[Extent]] = {}
    num_documents: dict[int, int] = {}
    for extent in extents:
        file = source.files[extent.file]
        number = num_documents[extent.file] = num_documents.get(extent.file, 0) + 1
        name = f"{file.family}/{number}" if file.has_own_documents else file.family
        families.setdefault(name, []).append(extent)
    return families


def _whole_families(families: Mapping[str, Sequence[Extent]], text: bytes | mmap, wanted: int) -> set[str]:
    """Return some families with about `wanted` bytes: at most a quarter more, and if possible no quarter less."""
    num_bytes = {family: sum(extent.length for extent in part) for family, part in families.items()}
    order = sorted(families, key=lambda family: _hash_of("split", family))
    repeats = _families_that_repeat(families, text, num_bytes)
    held: set[str] = set()
    total = 0
    for family in [*(f for f in order if f not in repeats), *(f for f in order if f in repeats)]:
        leaves_one = len(held) < len(families) - 1
        if leaves_one and total < 0.75 * wanted and total + num_bytes[family] <= 1.25 * wanted:
            held.add(family)
            total += num_bytes[family]
    return held


def _families_that_repeat(
    families: Mapping[str, Sequence[Extent]], text: bytes | mmap, num_bytes: Mapping[str, int]
) -> set[str]:
    """Return the families of which too much stands in others."""
    if len(families) == 1:
        return set()
    lines = {
        family: lines_of(text[extent.start : extent.start + extent.length] for extent in part)
        for family, part in families.items()
    }
    shared = in_several([part.hashes for part in lines.values()])
    return {family for family, part in lines.items() if part.bytes_in(shared) > MAX_REPEATED_RATIO * num_bytes[family]}


def _take_tail(train: Sequence[Extent], text: bytes | mmap, wanted: int) -> tuple[list[Extent], list[Extent]]:
    """Move about `wanted` bytes from the end of the largest file: whole documents, or part of one as well."""
    num_bytes = bytes_by_file(train)
    largest = max(num_bytes, key=lambda index: (num_bytes[index], -index))
    of_file = [extent for extent in train if extent.file == largest]
    others = [extent for extent in train if extent.file != largest]
    tail: list[Extent] = []
    missing = wanted
    while len(of_file) > 1 and of_file[-1].length <= missing:
        tail.insert(0, of_file.pop())
        missing -= tail[0].length
    # A few words at the end of a file are no split of their own where a long document stands before them.
    if not tail or (missing > wanted / 2 and of_file[-1].length > missing):
        last = of_file.pop()
        whole = text[last.start : last.start + last.length]
        kept = len(cut_at_line_end(whole, max(last.length - missing, 0)))
        parts = (last._replace(length=kept), last._replace(start=last.start + kept, length=last.length - kept))
        of_file += [parts[0]] if parts[0].length else []
        tail = [*([parts[1]] if parts[1].length else []), *tail]
    return sorted(others + of_file, key=lambda extent: extent.start), tail


def bytes_by_file(extents: Sequence[Extent]) -> dict[int, int]:
    """Return how much text each file gave, by its number."""
    num_bytes: dict[int, int] = {}
    for extent in extents:
        num_bytes[extent.file] = num_bytes.get(extent.file, 0) + extent.length
    return num_bytes


def _hash_of(purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{name}".encode()).digest()
