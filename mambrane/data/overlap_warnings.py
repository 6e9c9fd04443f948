"""What is said where held-out text stands in training text: bits per byte of it are partly memory."""

from collections.abc import Sequence

import numpy as np

from mambrane.core.events import EventLog
from mambrane.data.corpus import Corpus
from mambrane.data.overlap import Overlap, measure_overlap

NOTABLE_OVERLAP = 0.02
"""Above this part of the held-out text, what was trained on is told in a sentence."""


def overlap_text(name: str, overlap: Overlap) -> str:
    """Return a sentence on how much of a domain's held-out text was trained on; empty if it is next to nothing."""
    parts = []
    if overlap.overlap_ratio > NOTABLE_OVERLAP:
        parts.append(f"{overlap.overlap_ratio:.1%} of it lies in lines that stand in training text")
    if overlap.near_duplicate_ratio > NOTABLE_OVERLAP:
        parts.append(f"{overlap.near_duplicate_ratio:.1%} in documents that are nearly the same as training text")
    if not parts:
        return ""
    return f"held-out text of {name}: {', '.join(parts)}, so its bits per byte are partly memory"


def warn_of_overlap(heldout: Sequence[tuple[str, list[bytes]]], learned: Sequence[Corpus], events: EventLog) -> None:
    """Say where text that is to be learned holds what earlier domains are measured on."""
    lines, passages = _hashes_of_training(learned)
    overlaps = ((name, measure_overlap(documents, lines, passages)) for name, documents in heldout)
    repeated = [words for name, overlap in overlaps if (words := overlap_text(name, overlap))]
    if repeated:
        events.emit("heldout_text_repeats_training_text", message="; ".join(repeated))


def overlaps_of(corpora: Sequence[Corpus]) -> list[Overlap]:
    """Compare the held-out text of each domain with the training text of all."""
    lines, passages = _hashes_of_training(corpora)
    return [measure_overlap(corpus.documents("heldout"), lines, passages) for corpus in corpora]


def _hashes_of_training(corpora: Sequence[Corpus]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted hashes of the lines and the passages of all training text."""
    lines, passages = (
        np.unique(np.concatenate([corpus.training_hashes(of) for corpus in corpora])) for of in ("lines", "passages")
    )
    return lines, passages
