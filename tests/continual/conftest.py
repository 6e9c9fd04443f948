"""Small text domains that differ from each other, and a tiny model that can tell them apart."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.data.tokens import TokenFile
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

VOCAB_SIZE, END_OF_TEXT = 17, 16


def token_file(name: str, num_tokens: int, alphabet: tuple[int, ...]) -> TokenFile:
    """Text that counts through its alphabet again and again, with a document end now and then."""
    tokens = np.array([alphabet[position % len(alphabet)] for position in range(num_tokens)], dtype=np.uint16)
    tokens[::50] = END_OF_TEXT
    return TokenFile(tokens, END_OF_TEXT, num_bytes=num_tokens, num_documents=num_tokens // 50 + 1, content_hash=name)


def loader_of(domain: Domain) -> SequenceLoader:
    return SequenceLoader([domain.train], sequence_length=20, batch_size=4, seed=0, name=domain.name)


def move(model: nn.Module, *, by: float, seed: int = 1) -> None:
    """Add noise of this size to every weight."""
    generator = make_generator(seed, "move")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(scope="session")
def domains() -> list[Domain]:
    alphabets = {"rising": (0, 1, 2, 3, 4), "falling": (9, 8, 7, 6), "jumping": (0, 12, 3, 15, 6)}
    return [
        Domain(name, token_file(f"{name}/train", 500, letters), token_file(f"{name}/heldout", 120, letters), name, {})
        for name, letters in alphabets.items()
    ]


@pytest.fixture(scope="session")
def build_model() -> Callable[..., LanguageModel]:
    def build(seed: int = 0, **settings: object) -> LanguageModel:
        config = ModelConfig(**{"hidden_dim": 16, "num_layers": 1, "spiking_units": 12, **settings})
        return LanguageModel(config, VOCAB_SIZE, make_generator(seed, "weights"))

    return build
