"""Opening a run that was trained before: its configuration, tokenizer and model, from the folder alone."""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from rich.console import Console

from mambrane.app.run_config import RunConfig, from_dict, settings_left_unsaid
from mambrane.core.errors import UserError
from mambrane.core.events import Event, EventLog
from mambrane.data.tokenizer import Tokenizer, load_tokenizer
from mambrane.engine.checkpoint import Checkpoints
from mambrane.engine.run_folder import RunFolder
from mambrane.models.language_model import LanguageModel


class SavedRun(NamedTuple):
    """A run as it stands on the disk."""

    folder: RunFolder
    config: RunConfig
    tokenizer: Tokenizer
    model: LanguageModel
    step: int
    """Applied windows behind these weights."""


def open_run(path: Path, *, weights: Literal["model", "ema"] = "model", device: torch.device | None = None) -> SavedRun:
    """Load the newest valid checkpoint of a run.

    Raises:
        UserError: there is no run, no checkpoint, or no averaged weights.
    """
    folder = RunFolder(path)
    if not folder.config_file.exists():
        raise UserError(f"{path} is not the folder of a run", wanted="a folder with a config.json", way_out="ls runs")
    config = from_dict(folder.read_config(), source=str(folder.config_file), base=settings_left_unsaid())
    events = EventLog()
    # Standard output belongs to the answer of the command; a damaged checkpoint must not be passed over in silence.
    events.listeners.append(_warn_of_damage)
    checkpoint = Checkpoints(folder.checkpoints_folder, keep=2, events=events).load_newest()
    if checkpoint is None:
        raise UserError(
            f"{path} has no checkpoint yet", wanted="a run that has trained", way_out="run its train command again"
        )
    if weights not in checkpoint.weights:
        raise UserError(
            f"{checkpoint.path} holds no averaged weights",
            wanted="a run trained with --ema-decay",
            way_out="--weights model",
        )
    tokenizer = load_tokenizer(json.loads(folder.tokenizer_file.read_text(encoding="utf-8")))
    model = LanguageModel(config.model, tokenizer.vocab_size, torch.Generator())
    model.load_state_dict(checkpoint.weights[weights])
    return SavedRun(folder, config, tokenizer, model.to(device or torch.device("cpu")), checkpoint.step)


def _warn_of_damage(event: Event) -> None:
    if event["event"] == "checkpoint_damaged":
        message = f"{event['path']} is damaged ({event['file']}: {event['found']}); an older checkpoint is used"
        Console(stderr=True).print(f"[yellow]warning[/] {message}", highlight=False, soft_wrap=True)
