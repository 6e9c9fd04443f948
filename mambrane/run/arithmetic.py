"""The arithmetic that a configuration asks for, on a device."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from mambrane.engine.arithmetic import arithmetic
from mambrane.engine.precision import Precision, choose_precision
from mambrane.settings.config import RunConfig


def precision_of(config: RunConfig, device: torch.device) -> str:
    """Return fp32, tf32, bf16 or fp16."""
    return choose_precision(config.engine.precision, mixed_precision=config.engine.mixed_precision, device=device)


def arithmetic_of(config: RunConfig, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a run computes."""
    return arithmetic(precision_of(config, device), deterministic=config.run.deterministic)


@contextmanager
def evaluating(config: RunConfig, device: torch.device) -> Iterator[None]:
    """Compute inside the context as a run does that measures itself, for whoever measures its model later."""
    casts = Precision(precision_of(config, device), device)
    with arithmetic_of(config, device), casts.autocast(keeps_casts=False):
        yield
