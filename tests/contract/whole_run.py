"""A whole run of the smallest model that still has every module, built as `mambrane train` builds it."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.outcome import Outcome
from mambrane.continual.runner import Runner
from mambrane.continual.stream import build_stream
from mambrane.core.events import Event, EventLog
from mambrane.data.config import DataConfig
from mambrane.data.domains import Domain
from mambrane.data.tokens import TokenFile
from mambrane.engine.config import EngineConfig
from mambrane.measure.metrics import heldout_loss
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig, RunOptions
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.training.assembly import build_runner, parts_of, restore

CPU = torch.device("cpu")
LENGTH, VOCAB_SIZE, END_OF_TEXT = 8, 17, 16
ALPHABETS = {"rising": (0, 1, 2, 3, 4), "falling": (9, 8, 7, 6), "jumping": (0, 12, 3, 15, 6)}
CONFIG = RunConfig(
    run=RunOptions(epochs=6),
    data=DataConfig(sequence_length=LENGTH, batch_size=1),
    model=ModelConfig(
        hidden_dim=8,
        num_layers=1,
        spiking_units=4,
        use_mamba=True,
        mamba_expand=1,
        mamba_d_state=2,
        use_adaptive_gating=True,
        num_gate_heads=2,
        use_cross_attention=True,
        cross_attn_heads=2,
    ),
    engine=EngineConfig(
        accumulation_steps=4,
        precision="fp16",
        # Between the norms that occur: some gradients are clipped, others are not.
        gradient_clip=4.0,
        ema_decay=0.99,
        save_every=70,
        keep_checkpoints=100,
    ),
    plasticity=PlasticityConfig(use_stdp=True, use_meta_plasticity=True),
    continual=ContinualConfig(
        continual_learning=True,
        num_tasks=3,
        use_replay=True,
        replay_buffer_size=16,
        replay_strategy="importance",
        regularizer_strength=1.0,
        fisher_sequences=4,
        distillation_strength=1.0,
    ),
)


def split(name: str, num_tokens: int, alphabet: tuple[int, ...]) -> TokenFile:
    """Text that counts through its alphabet again and again, with a document end now and then."""
    tokens = np.array([alphabet[position % len(alphabet)] for position in range(num_tokens)], dtype=np.uint16)
    tokens[::50] = END_OF_TEXT
    num_documents = -(-num_tokens // 50)
    return TokenFile(tokens, END_OF_TEXT, num_bytes=num_tokens, num_documents=num_documents, content_hash=name)


def domains_of(*sizes: int) -> list[Domain]:
    """Domains of so many micro-batches each; a micro-batch is one sequence of text."""
    return [
        Domain(name, split(f"{name}/train", LENGTH * size, letters), split(f"{name}/heldout", 40, letters), name, {})
        for (name, letters), size in zip(ALPHABETS.items(), sizes, strict=True)
    ]


class Sitting(NamedTuple):
    """What is left of one process of a run."""

    outcome: Outcome
    runner: Runner
    events: list[Event]
    num_updates: int
    """Times that the optimizer moved the weights."""

    @property
    def step_events(self) -> list[Event]:
        return [event for event in self.events if event["event"] == "step"]


def sit(
    folder: Path,
    domains: Sequence[Domain],
    *,
    config: RunConfig = CONFIG,
    should_stop: Callable[[Runner], bool] = lambda runner: False,
    on_event: Callable[[Event], object] = lambda event: None,
) -> Sitting:
    """Start the run in the folder, or go on with it; a validation follows each epoch."""
    run, events, updates = RunFolder(folder), [], []
    with run.lock():
        log = EventLog(run.events_file)
        log.listeners += [events.append, on_event]
        checkpoints = Checkpoints(run.checkpoints_folder, keep=config.engine.keep_checkpoints, events=log)
        model = build_model(config, VOCAB_SIZE)
        with closing(log), BackgroundSaver(checkpoints) as saver:
            runner = build_runner(
                config,
                build_stream(domains, config.continual, config.run.epochs),
                model,
                run,
                device=CPU,
                events=log,
                should_stop=lambda: should_stop(runner),
                saver=saver,
            )
            checkpoint = checkpoints.load_newest()
            if checkpoint is not None:
                restore(runner, checkpoint)
            runner.trainer.optimizers[0].register_step_post_hook(lambda *_: updates.append(1))
            log.listeners.append(lambda event: validate_after_epoch(runner, domains[0], event))
            outcome = runner.run()
    return Sitting(outcome, runner, events, len(updates))


def validate_after_epoch(runner: Runner, domain: Domain, event: Event) -> None:
    """Look at held-out text with the averaged weights, and draw from the generator that a model may draw from."""
    if event["event"] != "epoch_finished":
        return
    with runner.trainer.evaluation():
        heldout_loss(runner.trainer.model, domain.heldout, sequence_length=LENGTH, batch_size=2, device=CPU)
        torch.rand(3)


def whole_state(runner: Runner) -> dict[str, Any]:
    """Everything that is saved, without the count of interrupted steps."""
    weights, states = parts_of(runner)
    trainer = dict(states["trainer"])
    counters = dict(trainer["counters"])
    counters["closed"] -= counters.pop("aborted")
    return {"weights": weights, **states, **trainer, "trainer": None, "counters": counters}
