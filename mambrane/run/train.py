"""Training a run: start it, or go on with it. Equal calls do both; nothing is printed here."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace

import torch

from mambrane.continual.runner import Outcome, Runner
from mambrane.continual.stream import build_stream
from mambrane.core.device import describe_environment, resolve_device
from mambrane.core.errors import UserError
from mambrane.core.events import Event, EventLog
from mambrane.core.seeding import seed_global_generators
from mambrane.data.corpus import Corpus
from mambrane.data.domains import Domain, read_texts, tokenize_texts
from mambrane.data.tokenizer import Tokenizer
from mambrane.engine.ranks import Ranks, open_ranks
from mambrane.engine.signals import StopRequest
from mambrane.models.language_model import LanguageModel
from mambrane.ops.dispatch import explain
from mambrane.run.arithmetic import arithmetic_of
from mambrane.run.build import build_model, build_runner, restore, steps_by_task
from mambrane.run.config import OPERATIONAL, RunConfig, defaults_for_old_runs, to_dict
from mambrane.run.effects import warnings_of_device
from mambrane.run.environment import compare_environment
from mambrane.run.folders import cache_folder
from mambrane.run.initial import initial_tokenizer, place_hash, start_from
from mambrane.run.kernels import all_operations_of, compile_kernels_of
from mambrane.run.methods import shown_numbers
from mambrane.run.outside import arguments_of, load_extensions
from mambrane.run.own_text import keep_heldout_text
from mambrane.run.presets import smaller_presets
from mambrane.run.reference import load_reference
from mambrane.run.run import Run
from mambrane.run.saved import read_domain_records, read_tokenizer, texts_as_saved
from mambrane.run.switches import on_and_off
from mambrane.run.timing import expected_time_now
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.watch.tensorboard import TensorBoardListener


def train(
    config: RunConfig,
    *,
    extensions: Sequence[object] = (),
    listeners: Sequence[Callable[[Event], None]] = (),
    warnings: Sequence[str] = (),
) -> Run:
    """Train in the folder that the configuration names, or resume what stands there, and return the run.

    SIGTERM, SIGHUP and Ctrl-C stop it in good order after a checkpoint; the same call goes on from there. Started by
    torchrun, all processes train together, each on its rows of every micro-batch; the first one locks, logs and saves.

    Args:
        config: every setting of the run, from a preset or by hand.
        extensions: rules of your own beside the run's (docs/extending.md); their classes and, of dataclasses, their
            fields become part of the configuration, as if `--extension` had named them.
        listeners: called with each event of the run as it happens, `ConsoleListener()` for one. A listener that
            raises is told of in the log and called no more; the run goes on.
        warnings: sentences to put into the run's log before the first step.

    Returns:
        The run as its folder now holds it; its `outcome` says whether it is finished, or why it stopped.

    Raises:
        UserError: a setting, a text or the folder does not fit.

    Example:
        >>> from dataclasses import replace
        >>> config = presets.tiny()
        >>> run = train(replace(config, run=replace(config.run, output_dir="runs/mine")))  # doctest: +SKIP
    """
    device = resolve_device(config.run.device)
    if device.type == "cuda":
        # What asks for "the" GPU, such as the state of its generator, then asks for this one and touches no other.
        torch.cuda.set_device(device)
    with open_ranks(device, timeout_s=config.run.rank_timeout_s) as ranks:
        _refuse_dropout_of_own_rows(config, ranks)
        folder, outcome = _train(config, extensions, listeners if ranks.is_first else (), warnings, device, ranks)
    return Run.open(folder.path, device=device, outcome=outcome)


def _train(
    config: RunConfig,
    extensions: Sequence[object],
    listeners: Sequence[Callable[[Event], None]],
    warnings: Sequence[str],
    device: torch.device,
    ranks: Ranks,
) -> tuple[RunFolder, Outcome]:
    seed_global_generators(config.run.seed)
    from_outside = [*load_extensions(config.run.extension), *extensions]
    words = [word for extension in from_outside for word in arguments_of(extension)]
    config = replace(config, run=replace(config.run, extension=tuple(words)))
    texts, reading_events = ranks.first_before_others(lambda: _read_texts(config, listeners))
    folder = RunFolder(config.folder_for([*(text.content_hash for text in texts), *place_hash(config)]))
    with folder.lock() if ranks.is_first else nullcontext():
        filled_in = folder.settings_saved_without(to_dict(defaults_for_old_runs()))
        if folder.config_file.exists():
            _check_config(folder, config, writes=False)
            # Refused before anything is written: a run must not be left with the place of another text.
            texts_as_saved(texts, read_domain_records(folder))
            _check_config(folder, config, writes=ranks.is_first)
        events = EventLog(folder.events_file if ranks.is_first else None)
        for event in reading_events:
            fields = {name: value for name, value in event.items() if name not in ("time_s", "event")}
            events.emit(event["event"], **fields)
        with closing(events), ExitStack() as at_end:
            if ranks.is_first:
                tensorboard = TensorBoardListener(folder.tensorboard_folder)
                events.listeners += [*listeners, tensorboard]
                at_end.callback(events.close_listener, tensorboard)
            if filled_in:
                events.emit("settings_filled_in", settings=filled_in)
            with arithmetic_of(config, device):
                outcome = _train_in(folder, config, from_outside, texts, warnings, events, device, ranks)
    return folder, outcome


def _train_in(
    folder: RunFolder,
    config: RunConfig,
    from_outside: Sequence[object],
    texts: list[Corpus],
    warnings: Sequence[str],
    events: EventLog,
    device: torch.device,
    ranks: Ranks,
) -> Outcome:
    if ranks.is_first:
        here = describe_environment(device, is_compiled=config.engine.compile) | {"num_processes": ranks.size}
        compare_environment(folder, here, events, must_be_same=config.run.require_same_environment)
    with StopRequest(events) as stop:
        # The first process tokenizes and claims the folder; the others then find a run that exists.
        tokenizer, domains = ranks.first_before_others(lambda: _tokenize(config, folder, texts, events))
        model = build_model(config, tokenizer.vocab_size)
        _announce(config, from_outside, warnings, folder, domains, model, device, events)
        ranks.first_before_others(lambda: compile_kernels_of(config, device, events))
        ranks.first_before_others(lambda: start_from(config, folder, model, tokenizer, events))
        checkpoints = Checkpoints(folder.checkpoints_folder, keep=config.engine.keep_checkpoints, events=events)
        with BackgroundSaver(checkpoints) as saver:
            runner = build_runner(
                config,
                domains,
                model,
                device=device,
                events=events,
                should_stop=lambda: stop.requested,
                saver=saver,
                matrix_path=folder.matrix_file,
                from_outside=from_outside,
                reference=load_reference(config, tokenizer, events),
                ranks=ranks,
            )
            checkpoint = checkpoints.load_newest()
            if checkpoint is not None:
                restore(runner, checkpoint)
                events.emit("resumed", step=checkpoint.step)
            if ranks.is_first:
                _announce_time(config, runner, tokenizer.vocab_size, device, events)
            outcome = runner.run()
        # Behind the last save, so that every process finds the run as it ends.
        signal_number = max(ranks.gather(stop.signal_number or 0)) or None
    return outcome._replace(signal_number=signal_number)


def _refuse_dropout_of_own_rows(config: RunConfig, ranks: Ranks) -> None:
    """Refuse dropout in several processes: each draws for its own rows, and all would drop the same places."""
    if ranks.size > 1 and config.model.dropout > 0:
        raise UserError(
            f"--dropout {config.model.dropout} with {ranks.size} processes: all would drop the same places",
            wanted="no dropout, or one process",
            way_out="--dropout 0",
        )


def _read_texts(config: RunConfig, listeners: Sequence[Callable[[Event], None]]) -> tuple[list[Corpus], list[Event]]:
    """Read the text, which decides the folder of the run; return the events on the way, for the run's log."""
    early_events: list[Event] = []
    events = EventLog()
    events.listeners += [*listeners, early_events.append]
    num_domains = config.continual.num_tasks if config.continual.continual_learning else None
    return read_texts(config.data, cache_folder(), events, num_domains), early_events


def _tokenize(
    config: RunConfig, folder: RunFolder, texts: list[Corpus], events: EventLog
) -> tuple[Tokenizer, list[Domain]]:
    """Tokenize the text; a run that exists keeps its tokenizer, a new one claims its folder once its text is there."""
    saved = None
    if folder.config_file.exists() and folder.tokenizer_file.exists():
        saved = read_tokenizer(folder)
        texts = texts_as_saved(texts, read_domain_records(folder))
    tokenizer, domains = tokenize_texts(
        texts,
        config.data,
        cache_folder(),
        events,
        is_stream=config.continual.continual_learning,
        tokenizer=saved or initial_tokenizer(config),
    )
    if saved is None:
        _check_config(folder, config)
        atomic_write_text(folder.domains_file, json.dumps([domain.record for domain in domains], indent=2) + "\n")
        atomic_write_text(folder.tokenizer_file, json.dumps(tokenizer.state_dict()))
    keep_heldout_text(folder, texts, config.data.keep_heldout_bytes, events)
    return tokenizer, domains


def _check_config(folder: RunFolder, config: RunConfig, *, writes: bool = True) -> None:
    """Refuse a folder of another run; settings younger than the run are taken to stand where it was trained."""
    defaults = to_dict(defaults_for_old_runs())
    folder.match_or_create(to_dict(config), operational=OPERATIONAL, defaults=defaults, writes=writes)


def _announce(
    config: RunConfig,
    from_outside: Sequence[object],
    warnings: Sequence[str],
    folder: RunFolder,
    domains: list[Domain],
    model: LanguageModel,
    device: torch.device,
    events: EventLog,
) -> None:
    """Say what will run, before the first step."""
    stream = build_stream(domains, config.continual, config.run.epochs)
    events.emit(
        "run_started",
        config=to_dict(config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_tasks=len(stream.tasks),
        total_steps=sum(steps_by_task(config, stream)),
        output_dir=str(folder.path),
        device=str(device),
        shown_numbers=shown_numbers(config, from_outside),
        environment=describe_environment(device, is_compiled=config.engine.compile),
    )
    on, off = on_and_off(config)
    events.emit("switches", on=on, off=off)
    for extension in from_outside:
        events.emit("extension", message=f"extension {' '.join(arguments_of(extension))}")
    for sentence in (*warnings, *warnings_of_device(config, device.type)):
        events.emit("warning", message=sentence)
    reasons = explain(device)
    events.emit("operations", **{name: reasons[name] for name in all_operations_of(config)})


def _announce_time(config: RunConfig, runner: Runner, vocab_size: int, device: torch.device, events: EventLog) -> None:
    """Say about how long what is left will take; a finished run has nothing left."""
    steps = steps_by_task(config, runner.stream)
    steps_left = sum(steps[runner.num_learned :]) - runner.steps_closed
    if config.run.max_steps > 0:
        steps_left = min(steps_left, config.run.max_steps - runner.trainer.counters.applied)
    if steps_left <= 0:
        return
    time = expected_time_now(config, runner.stream, vocab_size, device)
    events.emit(
        "expected_time",
        seconds=time.seconds * steps_left / sum(steps),
        steps_left=steps_left,
        smaller_presets=smaller_presets(config),
    )
