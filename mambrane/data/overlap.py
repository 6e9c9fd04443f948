"""How much of one text stands word for word in another: by lines, and for text without short lines by passages.

A line counts if it has at least 20 bytes without the white space around it: shorter ones (`else:`, `}`, a lone
number) are part of a language and say nothing about where a text comes from. Lines are compared by a hash of 64 bits.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

MIN_LINE_BYTES = 20
"""Shorter lines are not compared."""


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
    lines = [line for text in texts for line in map(bytes.strip, text.splitlines()) if len(line) >= MIN_LINE_BYTES]
    digests = b"".join(hashlib.blake2b(line, digest_size=8).digest() for line in lines)
    return Lines(np.frombuffer(digests, dtype="<u8"), np.array([len(line) for line in lines], dtype=np.int64))


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
