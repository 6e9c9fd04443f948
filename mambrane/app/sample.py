"""What the model writes at the end of a run: the start of a held-out document of each domain, continued."""

import torch
from rich.console import Console
from rich.text import Text

from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain
from mambrane.data.tokenizer import Tokenizer
from mambrane.evaluation.generation import generate_batch
from mambrane.models.language_model import LanguageModel

PROMPT_TOKENS = 48
SAMPLE_TOKENS = 160
TEMPERATURE = 0.6


def print_sample(model: LanguageModel, tokenizer: Tokenizer, domains: list[Domain], device: torch.device) -> None:
    """Print a prompt that was never trained on, dim, and what the model makes of it, for every domain."""
    console = Console(highlight=False, markup=False, emoji=False)
    prompts = [domain.heldout.tokens[:PROMPT_TOKENS].tolist() for domain in domains]
    written: list[list[int]] = [[] for _ in domains]
    tokens = generate_batch(
        model.to(device),
        prompts,
        max_tokens=SAMPLE_TOKENS,
        end_of_text=tokenizer.end_of_text,
        generators=[make_generator(0, "sample", domain.name) for domain in domains],
        temperature=TEMPERATURE,
    )
    for row, token in tokens:
        written[row].append(token)
    console.print("\nWhat the model writes after the dim words, which it never saw in training:")
    for domain, prompt, continuation in zip(domains, prompts, written, strict=True):
        dim, plain = (tokenizer.decode(part).decode(errors="replace") for part in (prompt, continuation))
        console.print(Text(f"\n{domain.name}", style="bold"))
        console.print(Text.assemble((dim, "dim"), plain))
