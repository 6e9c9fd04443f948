"""The model that the benchmarks of long sequences and of generation share: the tiny preset with every part on."""

from dataclasses import replace

import torch
from torch import Tensor

from mambrane.core.seeding import make_generator
from mambrane.models.language_model import LanguageModel
from mambrane.settings.presets import tiny

VOCAB_SIZE, END_OF_TEXT = 257, 256


def build_tiny_hybrid() -> LanguageModel:
    """Return the model with random weights, always the same ones."""
    parts = {"use_mamba": True, "use_adaptive_gating": True, "use_cross_attention": True}
    return LanguageModel(replace(tiny().model, **parts), VOCAB_SIZE, make_generator(0, "weights"))


def random_bytes(batch_size: int, num_tokens: int) -> Tensor:
    """Return random tokens without an end of text."""
    return torch.randint(0, END_OF_TEXT, (batch_size, num_tokens), generator=make_generator(0, "text"))
