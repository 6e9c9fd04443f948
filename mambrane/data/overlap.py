"""How much held-out text stands in training text: line by line, and document by document in nearly the same words.

A line counts if it has at least 20 bytes without the white space around it: shorter ones (`else:`, `}`, a lone
number) are part of a language and say nothing about where a text comes from. Lines are compared by a hash of 64 bits.

A held-out document is a near-duplicate if at least half of its passages stand in training text. Passages are all
stretches of 32 bytes, counting white space of any length as one space, of which one in 32 is kept, chosen by its hash
so that equal passages are kept in both texts (Broder 1997, "On the resemblance and containment of documents").
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

MIN_LINE_BYTES = 20
"""Shorter lines are not compared."""
PASSAGE_BYTES = 32
"""Length of the stretches that near-duplicates are found by."""
_KEPT_BITS = 5
_PIECE_BYTES = 2**22
# Any odd number has an inverse modulo 2**64; these two are from Steele & Vigna 2022, "Computationally easy,
# spectrally good multipliers".
_BASE = 0xD1342543DE82EF95
_MIXER = 0xAF251AF3B0F025B5


class Lines(NamedTuple):
    """The lines of a text that are long enough to be compared."""

    hashes: np.ndarray
    """uint64, one for each line."""
    lengths: np.ndarray
    """int64, bytes of each line."""

    def bytes_in(self, others: np.ndarray) -> int:
        """Return how many bytes lie in lines whose hash is among `others`, which are sorted."""
        return int(self.lengths[is_among(self.hashes, others)].sum())


def lines_of(texts: Iterable[bytes]) -> Lines:
    """Return the lines of all texts, in their order."""
    digests, lengths = bytearray(), array("q")
    for text in texts:
        for line in map(bytes.strip, text.splitlines()):
            if len(line) >= MIN_LINE_BYTES:
                digests += hashlib.blake2b(line, digest_size=8).digest()
                lengths.append(len(line))
    return Lines(np.frombuffer(bytes(digests), dtype="<u8"), np.array(lengths, dtype=np.int64))


def in_several(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the hashes that occur in two parts or more, sorted."""
    if not parts:
        return np.empty(0, dtype="<u8")
    hashes, counts = np.unique(np.concatenate([np.unique(part) for part in parts]), return_counts=True)
    return hashes[counts > 1]


def is_among(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each hash whether it is among `others`, which are sorted."""
    if not len(others):
        return np.zeros(len(hashes), dtype=bool)
    places = np.minimum(np.searchsorted(others, hashes), len(others) - 1)
    return others[places] == hashes


def passages_of(text: bytes) -> np.ndarray:
    """Return the hashes of the kept passages of a text, uint64, each once and sorted."""
    words = b" ".join(text.split())
    pieces = [
        _passages(words[first : first + _PIECE_BYTES + PASSAGE_BYTES - 1])
        for first in range(0, len(words), _PIECE_BYTES)
    ]
    return np.unique(np.concatenate(pieces)) if pieces else np.empty(0, dtype=np.uint64)


def _passages(words: bytes) -> np.ndarray:
    """Hash every stretch as a polynomial of its bytes, from sums that are kept for all beginnings of the text."""
    if len(words) < PASSAGE_BYTES:
        return np.empty(0, dtype=np.uint64)
    values = np.frombuffer(words, dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    powers = _powers(_BASE, len(values))
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values * powers, dtype=np.uint64)])
    num_passages = len(values) - PASSAGE_BYTES + 1
    hashes = (sums[PASSAGE_BYTES:] - sums[:-PASSAGE_BYTES]) * _powers(pow(_BASE, -1, 2**64), num_passages)
    hashes = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(_MIXER)
    hashes ^= hashes >> np.uint64(29)
    return hashes[hashes >> np.uint64(64 - _KEPT_BITS) == 0]


def _powers(base: int, count: int) -> np.ndarray:
    """Return base**0, base**1, ... modulo 2**64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


class Overlap(NamedTuple):
    """How much of the held-out text of a domain stands in training text; both from 0 to 1."""

    overlap_ratio: float
    """Part of the held-out bytes in lines that stand in training text."""
    near_duplicate_ratio: float
    """Part of the held-out bytes in documents that are near-duplicates of training text."""


def measure_overlap(heldout: Iterable[bytes], lines: np.ndarray, passages: np.ndarray) -> Overlap:
    """Compare held-out documents with the sorted hashes of the lines and passages of training text."""
    num_bytes = in_lines = in_duplicates = 0
    for document in heldout:
        num_bytes += len(document)
        in_lines += lines_of([document]).bytes_in(lines)
        found = is_among(passages_of(document), passages)
        in_duplicates += len(document) * bool(len(found) and found.mean() >= 0.5)
    return Overlap(in_lines / max(num_bytes, 1), in_duplicates / max(num_bytes, 1))
