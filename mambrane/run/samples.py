"""What a model writes: the start of a held-out document of each domain, continued."""

from collections.abc import Sequence

import numpy as np

from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain
from mambrane.data.tokenizer import Tokenizer
from mambrane.measure.generation import generate_batch
from mambrane.models.language_model import LanguageModel
from mambrane.report.data import Sample

PROMPT_TOKENS = 48
SAMPLE_TOKENS = 160
TEMPERATURE = 0.6


def write_samples(
    model: LanguageModel, tokenizer: Tokenizer, domains: Sequence[Domain], *, weights: str
) -> tuple[Sample, ...]:
    """Return, for every domain, a beginning that was never trained on and what the model makes of it."""
    prompts = [domain.heldout.tokens[:PROMPT_TOKENS].astype(np.int64).tolist() for domain in domains]
    written: list[list[int]] = [[] for _ in domains]
    tokens = generate_batch(
        model,
        prompts,
        max_tokens=SAMPLE_TOKENS,
        end_of_text=tokenizer.end_of_text,
        generators=[make_generator(0, "sample", domain.name) for domain in domains],
        temperature=TEMPERATURE,
    )
    for row, token in tokens:
        written[row].append(token)
    return tuple(
        Sample(
            prompt=tokenizer.decode(prompt).decode(errors="replace"),
            continuation=tokenizer.decode(continuation).decode(errors="replace"),
            settings=f"temperature {TEMPERATURE}, seed 0, {weights}",
            title=domain.name,
            truth=tokenizer.decode(_what_follows(domain)).decode(errors="replace"),
        )
        for domain, prompt, continuation in zip(domains, prompts, written, strict=True)
    )


def _what_follows(domain: Domain) -> list[int]:
    """Return the tokens of the held-out text behind the beginning, as many as are written, up to the document's end."""
    following = domain.heldout.tokens[PROMPT_TOKENS : PROMPT_TOKENS + SAMPLE_TOKENS].astype(np.int64).tolist()
    end = domain.heldout.end_of_text
    return following[: following.index(end)] if end in following else following
