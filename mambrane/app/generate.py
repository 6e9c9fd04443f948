"""`mambrane generate RUN`: text from a trained model, written as it comes."""

import sys
from pathlib import Path

from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.run.config import Weights
from mambrane.run.run import Run


def generate(
    run: Path,
    *,
    prompt: str,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    weights: Weights,
    device: str,
) -> int:
    """Write the prompt and what follows it to standard output."""
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    pieces = opened.stream(prompt, max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    first = next(pieces, "")
    sys.stdout.write(prompt + first)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
