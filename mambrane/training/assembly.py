"""The only place where the parts meet: from a configuration to a runner that is ready to go."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from mambrane.continual.measure import Measurement
from mambrane.continual.row_evaluation import RowEvaluation
from mambrane.continual.run_storage import RunStorage
from mambrane.continual.runner import Runner
from mambrane.continual.stream import Stream, steps_of_task
from mambrane.continual.terms import Terms
from mambrane.core.events import EventLog
from mambrane.core.needs import unmet_needs
from mambrane.core.renamed import with_present_state_names
from mambrane.data.domains import Domain
from mambrane.engine.extensions import Extension, TakeUpView
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.refusals import load_weights
from mambrane.engine.shards import refuse_without_shards, shard_, whole_state, without_pieces
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.run.build import build_model, build_task_kind
from mambrane.settings.config import RunConfig
from mambrane.settings.memory_share import SAVED_SIZE
from mambrane.settings.methods import build_extensions, methods_of
from mambrane.settings.saved_config import SETTINGS_PART, settings_of
from mambrane.storage.checkpoint_files import Checkpoint
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.storage.state_files import encode_state
from mambrane.training.compiling import compile_blocks


class Parts(NamedTuple):
    """What a run is saved as: weights as tensors by name, the rest as one state tree a file."""

    weights: dict[str, dict[str, torch.Tensor]]
    states: dict[str, Any]


def steps_by_task(config: RunConfig, stream: Stream) -> list[int]:
    """Return how many steps each task has, over all its epochs."""
    kind = build_task_kind(config, torch.device("cpu"))
    return [steps_of_task(kind.make_loader(task).num_batches, task.num_epochs, config.engine) for task in stream.tasks]


def build_runner(
    config: RunConfig,
    stream: Stream,
    model: LanguageModel,
    folder: RunFolder,
    *,
    device: torch.device,
    events: EventLog,
    should_stop: Callable[[], bool],
    saver: BackgroundSaver,
    from_outside: Sequence[object] = (),
    reference: Sequence[Domain] = (),
    ranks: Ranks = ONE_RANK,
    began: RunConfig | None = None,
) -> Runner:
    """Return the runner of a fresh run; `restore` brings it to where a checkpoint stands.

    Of several processes the first one writes; it saves after all have agreed on weights and extension states. `began`
    is what the run began with, which every checkpoint keeps; `config` may be that of a later task, and has the size of
    the replay buffer as a number (memory_share.py).
    """
    _place(model, config, device, from_outside, ranks)
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

    terms = terms_of(config)
    # Objects of a caller cannot be built again.
    own_objects = [each for each in from_outside if isinstance(each, Extension) and terms.are_set]
    outside_as_built = {each.name: copy.deepcopy(each.state_dict()) for each in own_objects}
    memory_size = {SAVED_SIZE: config.continual.replay_buffer_size}

    def save() -> None:
        parts = parts_of(runner)
        if trainer.is_sharded:
            # No rank has another's pieces to differ from.
            ranks.require_equal(encode_state(without_pieces(parts.states["extensions"])).tensors)
            parts = Parts(*(whole_state(part, keeps=ranks.is_first) for part in parts))
        elif ranks.size > 1:
            equal = {"weights": parts.weights, "extensions": parts.states["extensions"]}
            ranks.require_equal(encode_state(equal).tensors)
        if ranks.is_first:
            of_runner = parts.states["runner"] | memory_size
            states = {**parts.states, "runner": of_runner, SETTINGS_PART: settings_of(began or config)}
            saver.save_async(trainer.counters.applied, states, weights=parts.weights)

    def put_back(step: int, runner_state: dict[str, Any]) -> None:
        # Behind every save of the task: from here on the checkpoint before it is the newest.
        saver.wait()
        if ranks.is_first:
            base = saver.checkpoints.load_step(step)
            saver.checkpoints.save(step, {**base.parts, "runner": runner_state | memory_size}, weights=base.weights)
            saver.checkpoints.remove_later(step)
        base = ranks.first_before_others(lambda: saver.checkpoints.load_step(step))
        begin_anew(trainer, base, lambda: build_extensions(config, model).state_dict() | outside_as_built)
        view = take_up_view(trainer, runner_state["num_learned"], runner.stream)
        restore_trainer(trainer, base, take_up=view)

    def pin(step: int | None) -> None:
        saver.checkpoints.pinned_step = step

    def evaluate_untrained(domain: Domain) -> Measurement:
        untrained = build_model(config, model.embedding.num_embeddings).to(device)
        return kind.evaluate(untrained, domain)

    runner = Runner(
        stream,
        trainer,
        RowEvaluation(
            trainer,
            kind.evaluate,
            measure=kind.measure,
            # Weights that the run started from may be gone.
            evaluate_untrained=None if config.run.init_from else evaluate_untrained,
            reference=reference,
        ),
        make_loader=kind.make_loader,
        training_numbers=kind.training_numbers,
        storage=RunStorage(
            save=save,
            poll_save=saver.poll,
            pin=pin,
            put_back=put_back,
            matrix_path=folder.matrix_file if ranks.is_first else None,
            tasks_path=folder.tasks_file if ranks.is_first else None,
        ),
        max_steps=config.run.max_steps,
        terms=terms,
    )
    return runner


def terms_of(config: RunConfig) -> Terms:
    """Return the terms on which tasks are kept: those of the two limits that have what they need."""
    without_effect = {name for _, name, _ in unmet_needs(config)}
    limits = {name: getattr(config.continual, name) for name in ("max_forgetting", "min_gain")}
    return Terms(**{name: None if name in without_effect else limit for name, limit in limits.items()})


def _place(
    model: LanguageModel, config: RunConfig, device: torch.device, from_outside: Sequence[object], ranks: Ranks
) -> None:
    """Bring the model, or this rank's pieces of it, to the device."""
    if config.engine.shard and ranks.size > 1:
        # Before extensions are built: one that knows no pieces would take them for whole weights.
        refuse_without_shards([*methods_of(config), *from_outside])
        shard_(model, model.blocks, ranks, device)
    else:
        model.to(device)
    if config.engine.compile:
        compile_blocks(model, device)


def parts_of(runner: Runner) -> Parts:
    """Return all that a checkpoint holds."""
    state = runner.trainer.state_dict()
    weights = state.pop("weights")
    optimizer, extensions = state.pop("optimizer"), state.pop("extensions")
    states = {"optimizer": optimizer, "extensions": extensions, "trainer": state, "runner": runner.state_dict()}
    return Parts(weights, states)


def restore(runner: Runner, checkpoint: Checkpoint, *, take_up: bool = False) -> None:
    """Bring a fresh runner to where the checkpoint stands; with `take_up` the next tasks may have other methods."""
    state = with_present_state_names(dict(checkpoint.parts))["runner"]
    view = None
    if take_up:
        view = take_up_view(runner.trainer, state["num_learned"], runner.stream)
        view = view._replace(tell=lambda message: runner.events.emit("warning", message=message))
    restore_trainer(runner.trainer, checkpoint, take_up=view)
    runner.load_state_dict(state)


def restore_trainer(trainer: Trainer, checkpoint: Checkpoint, *, take_up: TakeUpView | None = None) -> None:
    """Bring a trainer to where the checkpoint stands."""
    states = with_present_state_names(dict(checkpoint.parts))
    for of_the_run in ("runner", SETTINGS_PART):
        states.pop(of_the_run, None)
    whole = {**states.pop("trainer"), **states, "weights": checkpoint.weights}
    trainer.load_state_dict(whole, take_up=take_up)


def begin_anew(trainer: Trainer, checkpoint: Checkpoint, as_built: Callable[[], dict[str, Any]]) -> None:
    """Bring the methods that a checkpoint does not know to where they began, behind the weights that it holds.

    `as_built` returns the states of methods that were just built, by name.
    """
    states = with_present_state_names(dict(checkpoint.parts))
    known = states["extensions"].keys() | states["trainer"].get("parked", {}).keys()
    unknown = {name: method for name, method in trainer.extensions.by_name().items() if name not in known}
    if not unknown:
        return
    load_weights(trainer.model, checkpoint.weights["model"])
    fresh = as_built()
    for name, method in unknown.items():
        method.load_state_dict(fresh[name])


def take_up_view(trainer: Trainer, num_learned: int, stream: Stream) -> TakeUpView:
    """Return what a method sees that the next tasks take up."""
    return TakeUpView(trainer.model, num_learned, stream.domains[0].heldout.end_of_text, trainer.device)
