"""What a configuration alone makes: the model with its initial weights, and the kind of task."""

import torch

from mambrane.core.seeding import make_generator
from mambrane.models.language_model import LanguageModel
from mambrane.settings.config import RunConfig
from mambrane.tasks import task_kind
from mambrane.tasks.kind import TaskKind


def build_model(config: RunConfig, vocab_size: int) -> LanguageModel:
    """Return the model with its initial weights, on the CPU; the global generator stays as it is."""
    # Modules draw weights of their own as they are made, which ours then replace.
    with torch.random.fork_rng(devices=[]):
        model = LanguageModel(config.model, vocab_size, make_generator(config.run.seed, "weights"))
    model.checkpoint_activations = config.engine.checkpoint_activations
    return model


def build_task_kind(config: RunConfig, device: torch.device) -> TaskKind:
    """Return what decides batches, objective and measure of the run."""
    return task_kind(config.run.task)(config.data, seed=config.run.seed, device=device)
