"""Opening a run that was trained before: its configuration, tokenizer, model and text, from the folder alone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import num_other_cells
from mambrane.continual.text_identity import refuse_another_tokenizer
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records, write_domain_records
from mambrane.data.domains import Domain
from mambrane.data.tokenizer import Tokenizer, read_tokenizer, tokenizer_hash
from mambrane.models.language_model import LanguageModel
from mambrane.run.kernels import compile_kernels_of
from mambrane.settings.config import RunConfig, Weights
from mambrane.settings.saved_config import read_configuration
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.checkpoint_files import Checkpoint
from mambrane.storage.run_folder import RunFolder

WEIGHTS_LABELS = {"model": "trained weights", "ema": "averaged weights"}


class SavedRun(NamedTuple):
    """A run as it stands on the disk."""

    folder: RunFolder
    config: RunConfig
    tokenizer: Tokenizer
    model: LanguageModel
    weights: str
    """Which weights the model has, as text."""
    step: int
    """Applied steps behind these weights."""
    text: dict[str, str]
    """Content hash of each domain that the run was trained on, by name, in the order of the matrix."""
    num_tasks: int
    """Tasks that the run has, learned or left, those that it did not begin with too."""
    events: EventLog
    """Receives warnings about the run's files and text."""


def open_run(
    path: Path, *, weights: Weights = "auto", device: torch.device | None = None, events: EventLog | None = None
) -> SavedRun:
    """Load the newest valid checkpoint of a run, and the kernels that its model needs. The model is in evaluation mode.

    Args:
        path: the folder.
        weights: the trained ones, their average, or (auto) those that the run measured itself with: the average where
            there is one.
        device: where the model goes; the CPU where not given.
        events: receives warnings and announcements; nobody where not given.

    Raises:
        UserError: there is no run, no checkpoint, no tokenizer, or no averaged weights.
    """
    device = device or torch.device("cpu")
    folder = RunFolder(path)
    config = read_configuration(folder)
    events = events or EventLog()
    checkpoint = Checkpoints(folder.checkpoints_folder, events=events).load_newest()
    if checkpoint is None:
        raise UserError(
            f"{path} has no checkpoint yet", wanted="a run that has trained", way_out="run its train command again"
        )
    kind = _chosen_weights(checkpoint, weights)
    tokenizer = read_tokenizer(folder.tokenizer_file)
    refuse_another_tokenizer(checkpoint.parts["runner"], tokenizer_hash(tokenizer))
    compile_kernels_of(config, device, events)
    model = LanguageModel(config.model, tokenizer.vocab_size, torch.Generator())
    try:
        # The average holds parameters only; buffers are the model's.
        model.load_state_dict({**checkpoint.weights["model"], **checkpoint.weights[kind]})
    except (RuntimeError, KeyError) as error:
        raise UserError(
            f"the weights of {checkpoint.path} do not fit {folder.config_file} and {folder.tokenizer_file}",
            wanted="the configuration and the tokenizer that the weights were trained with",
            way_out="restore these files from a copy",
        ) from error
    return SavedRun(
        folder,
        config,
        tokenizer,
        # Threads of a server share it: each gives back the mode it found, which must not be that of training.
        model.to(device).eval(),
        WEIGHTS_LABELS[kind],
        checkpoint.step,
        _text_of(checkpoint.parts["runner"]),
        checkpoint.parts["runner"]["matrix"]["num_tasks"],
        events,
    )


def require_finite_weights(model: LanguageModel, folder: Path) -> None:
    """Raise UserError where a weight is nan or infinite: nothing that such a model computes means anything."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(
                f"{folder}: the weight {name} is not finite",
                wanted="a model of finite numbers",
                way_out="go back to an earlier checkpoint of the run, or train anew with a lower learning rate",
            )


def first_records(folder: RunFolder, at_hand: Sequence[Corpus]) -> list[dict[str, Any]]:
    """Return what domains.json says of the text that the run began with, without that of tasks added later.

    Where the file is damaged, those of the texts at hand are returned that the run's checkpoints know.
    """
    records, damage = read_domain_records(folder.domains_file)
    if damage is None:
        return [record for record in records if "data" not in record]
    names = _names_by_hash(folder)
    if not names:
        # Ended before its first checkpoint: it begins anew.
        return [text.record for text in at_hand]
    return [{**text.record, "name": names[text.content_hash]} for text in at_hand if text.content_hash in names]


def mend_records(folder: RunFolder, at_hand: Sequence[Domain], events: EventLog) -> None:
    """Write a damaged domains.json anew, as far as its text is at hand, and say so."""
    records, damage = read_domain_records(folder.domains_file)
    names = _names_by_hash(folder)
    if damage is None or not names:
        return
    known = {record["content_hash"]: record for record in records}
    for domain in at_hand:
        known.setdefault(domain.content_hash, domain.record)
    found = [{**known[content_hash], "name": name} for content_hash, name in names.items() if content_hash in known]
    if len(found) > len(records):
        write_domain_records(folder.domains_file, found)
        damage = f"{damage}; it is written anew, with {len(found)} of {len(names)} texts"
    events.emit("warning", message=damage)


def edited_numbers(folder: RunFolder, matrix: ForgettingMatrix) -> str | None:
    """Return in a sentence that numbers of matrix.json are not those of the newest checkpoint; None where all are."""
    runner = Checkpoints(folder.checkpoints_folder).read_part("runner")
    others = 0 if runner is None else num_other_cells(matrix, runner["matrix"])
    if not others:
        return None
    return (
        f"{folder.matrix_file} was changed: {others} of its numbers are not those that the run measured; running the "
        "train command again writes it anew"
    )


def _names_by_hash(folder: RunFolder) -> dict[str, str]:
    """Return the domains that the newest checkpoint knows, by the hash of their text, in the order of the matrix."""
    runner = Checkpoints(folder.checkpoints_folder).read_part("runner")
    return {} if runner is None else {content_hash: name for name, content_hash in _text_of(runner).items()}


def texts_as_saved(texts: list[Corpus], records: list[dict[str, Any]]) -> list[Corpus]:
    """Return the texts under the names that the run knows them by, wherever they lie now and whatever they are called.

    `records` is what the run wrote down of its text; empty if that is lost.

    Raises:
        UserError: the content of a domain is not what it was.
    """
    if not records:
        return texts
    pairs = list(zip_longest(texts, records))
    changed = [
        record["name"] if record else text.name
        for text, record in pairs
        if text is None or record is None or text.content_hash != record["content_hash"]
    ]
    if changed:
        raise UserError(
            f"the text of {', '.join(changed)} changed since the run was saved",
            wanted="the text that the run started with, wherever it lies now",
            way_out="restore it, or start a new run in another --output-dir",
        )
    return [replace(text, record={**text.record, "name": record["name"]}) for text, record in pairs]


def _text_of(runner: Any) -> dict[str, str]:  # noqa: ANN401 -- the state of a runner
    return {name: runner["text"][name] for name in runner["matrix"]["domains"]}


def _chosen_weights(checkpoint: Checkpoint, weights: Weights) -> Literal["model", "ema"]:
    if weights == "auto":
        return "ema" if "ema" in checkpoint.weights else "model"
    if weights not in checkpoint.weights:
        raise UserError(
            f"{checkpoint.path} holds no averaged weights",
            wanted="a run trained with --ema-decay",
            way_out="--weights model",
        )
    return weights
