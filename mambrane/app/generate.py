"""`mambrane generate RUN`: text from a trained model, written as it comes."""

import sys
from pathlib import Path

from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.core.seeding import make_generator
from mambrane.data.tokenizer import StreamingDecoder
from mambrane.measure import generation
from mambrane.run.config import Weights
from mambrane.run.saved import open_run


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
    saved = open_run(run, weights=weights, device=resolve_device(device), events=announced_events())
    tokens = generation.generate(
        saved.model,
        generation.encode_prompt(saved.tokenizer, prompt),
        max_tokens=max_tokens,
        end_of_text=saved.tokenizer.end_of_text,
        generator=make_generator(seed, "generate"),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop_at_end=True,
    )
    decoder = StreamingDecoder(saved.tokenizer)
    sys.stdout.write(prompt)
    for token in tokens:
        sys.stdout.write(decoder.push(token))
        sys.stdout.flush()
    sys.stdout.write(decoder.finish() + "\n")
    return 0
