"""The only place where the parts meet: from a configuration to a runner that is ready to go."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mambrane.continual.runner import Runner, steps_of_task
from mambrane.continual.stream import Stream, build_stream
from mambrane.core.events import EventLog
from mambrane.core.renamed import with_present_state_names
from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.run.compiling import compile_blocks
from mambrane.run.config import RunConfig
from mambrane.run.methods import build_extensions
from mambrane.storage.checkpoint import Checkpoint
from mambrane.storage.saver import BackgroundSaver
from mambrane.storage.state_files import encode_state
from mambrane.tasks import task_kind
from mambrane.tasks.kind import TaskKind


class Parts(NamedTuple):
    """What a run is saved as: weights as tensors by name, the rest as one state tree a file."""

    weights: dict[str, dict[str, torch.Tensor]]
    states: dict[str, Any]


def build_model(config: RunConfig, vocab_size: int) -> LanguageModel:
    """Return the model with its initial weights, on the CPU."""
    model = LanguageModel(config.model, vocab_size, make_generator(config.run.seed, "weights"))
    model.checkpoint_activations = config.engine.checkpoint_activations
    return model


def build_task_kind(config: RunConfig, device: torch.device) -> TaskKind:
    """Return what decides batches, objective and measure of the run."""
    return task_kind(config.run.task)(config.data, seed=config.run.seed, device=device)


def steps_by_task(config: RunConfig, stream: Stream) -> list[int]:
    """Return how many steps each task has, over all its epochs."""
    kind = build_task_kind(config, torch.device("cpu"))
    return [steps_of_task(kind.make_loader(task).num_batches, task.num_epochs, config.engine) for task in stream.tasks]


def build_runner(
    config: RunConfig,
    domains: Sequence[Domain],
    model: LanguageModel,
    *,
    device: torch.device,
    events: EventLog,
    should_stop: Callable[[], bool],
    saver: BackgroundSaver,
    matrix_path: Path,
    from_outside: Sequence[object] = (),
    reference: Sequence[Domain] = (),
    ranks: Ranks = ONE_RANK,
) -> Runner:
    """Return the runner of a fresh run; `restore` brings it to where a checkpoint stands.

    Of several processes the first one saves, after all have agreed on weights and extension states bit for bit.
    """
    model.to(device)
    if config.engine.compile:
        compile_blocks(model, device)
    kind = build_task_kind(config, device)
    trainer = Trainer(
        model,
        config.engine,
        device=device,
        events=events,
        extensions=build_extensions(config, model, from_outside),
        objective=kind.objective,
        should_stop=should_stop,
        ranks=ranks,
    )

    def save() -> None:
        parts = parts_of(runner)
        if ranks.size > 1:
            equal = {"weights": parts.weights, "extensions": parts.states["extensions"]}
            ranks.require_equal(encode_state(equal).tensors)
        if ranks.is_first:
            saver.save_async(trainer.counters.applied, parts.states, weights=parts.weights)

    runner = Runner(
        build_stream(domains, config.continual, config.run.epochs),
        trainer,
        make_loader=kind.make_loader,
        evaluate=kind.evaluate,
        measure=kind.measure,
        training_numbers=kind.training_numbers,
        save=save,
        poll_save=saver.poll,
        events=events,
        matrix_path=matrix_path,
        max_steps=config.run.max_steps,
        reference=reference,
    )
    return runner


def parts_of(runner: Runner) -> Parts:
    """Return all that a checkpoint holds."""
    state = runner.trainer.state_dict()
    weights = state.pop("weights")
    optimizer, extensions = state.pop("optimizer"), state.pop("extensions")
    states = {"optimizer": optimizer, "extensions": extensions, "trainer": state, "runner": runner.state_dict()}
    return Parts(weights, states)


def restore(runner: Runner, checkpoint: Checkpoint) -> None:
    """Bring a fresh runner to where the checkpoint stands."""
    states = with_present_state_names(dict(checkpoint.parts))
    runner_state = states.pop("runner")
    trainer_state = {**states.pop("trainer"), **states, "weights": checkpoint.weights}
    runner.trainer.load_state_dict(trainer_state)
    runner.load_state_dict(runner_state)
