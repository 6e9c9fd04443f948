"""`mambrane train`: start a run, or go on with it. The same words do both."""

import json
from contextlib import closing
from pathlib import Path

import torch

from mambrane.app.memory import keep_freed_memory
from mambrane.app.notices import announced_events
from mambrane.app.plan import print_plan
from mambrane.app.sample import print_samples, write_samples
from mambrane.continual.stream import build_stream
from mambrane.core.device import describe_environment, resolve_device
from mambrane.core.events import EventLog
from mambrane.core.seeding import seed_global_generators
from mambrane.data.domains import Domain, load_domains
from mambrane.data.tokenizer import Tokenizer
from mambrane.engine.signals import StopRequest
from mambrane.models.language_model import LanguageModel
from mambrane.ops.dispatch import explain
from mambrane.run.build import build_model, build_runner, restore, windows_by_task
from mambrane.run.config import OPERATIONAL, RunConfig, settings_left_unsaid, to_dict
from mambrane.run.folders import cache_folder
from mambrane.run.kernels import compile_kernels_of
from mambrane.run.saved import WEIGHTS_IN_WORDS, read_tokenizer
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.watch.console import ConsoleListener
from mambrane.watch.tensorboard import TensorBoardListener


def train(config: RunConfig, warnings: list[str]) -> int:
    """Train, or resume; returns 0 at the end and 128 + signal number after a signal."""
    device = resolve_device(config.run.device)
    keep_freed_memory()
    seed_global_generators(config.run.seed)
    console = ConsoleListener()
    if config.run.dry_run:
        return _print_plan(config, warnings, console, device)
    folder = RunFolder(config.folder)
    with folder.lock():
        unsaid = folder.settings_saved_without(to_dict(settings_left_unsaid()))
        if folder.config_file.exists():
            _check_config(folder, config)
        events = EventLog(folder.events_file)
        tensorboard = TensorBoardListener(folder.tensorboard_folder)
        events.listeners += [console, tensorboard]
        with closing(events), closing(tensorboard), closing(console):
            if unsaid:
                events.emit("settings_filled_in", settings=unsaid)
            return _train_in(folder, config, warnings, events, device)


def _train_in(folder: RunFolder, config: RunConfig, warnings: list[str], events: EventLog, device: torch.device) -> int:
    with StopRequest(events) as stop:
        tokenizer, domains = _load_text(config, folder, events)
        model = build_model(config, tokenizer.vocab_size)
        _announce(config, warnings, folder, domains, model, device, events)
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
            )
            checkpoint = checkpoints.load_newest()
            if checkpoint is not None:
                restore(runner, checkpoint)
                events.emit("resumed", step=checkpoint.step)
            outcome = runner.run()
    if outcome.is_finished:
        # As the matrix was measured: with the averaged weights, if there are any.
        weights = WEIGHTS_IN_WORDS["model" if runner.trainer.average is None else "ema"]
        with runner.trainer.evaluation():
            print_samples(write_samples(model, tokenizer, domains, weights=weights))
    return stop.exit_code


def _load_text(config: RunConfig, folder: RunFolder, events: EventLog) -> tuple[Tokenizer, list[Domain]]:
    """Load the domains; a run that exists keeps its tokenizer, a new one claims its folder once its text is there."""
    saved = None
    if folder.config_file.exists() and folder.tokenizer_file.exists():
        saved = read_tokenizer(folder)
    num_domains = config.continual.num_tasks if config.continual.continual_learning else None
    tokenizer, domains = load_domains(config.data, cache_folder(), events, num_domains, tokenizer=saved)
    if saved is None:
        _check_config(folder, config)
        atomic_write_text(folder.domains_file, json.dumps([domain.record for domain in domains], indent=2) + "\n")
        atomic_write_text(folder.tokenizer_file, json.dumps(tokenizer.state_dict()))
    return tokenizer, domains


def _check_config(folder: RunFolder, config: RunConfig) -> None:
    """Refuse a folder of another run; settings younger than the run are taken to stand where it was trained."""
    defaults = to_dict(settings_left_unsaid())
    folder.claim_for(to_dict(config), operational=OPERATIONAL, defaults=defaults)


def _announce(
    config: RunConfig,
    warnings: list[str],
    folder: RunFolder,
    domains: list[Domain],
    model: LanguageModel,
    device: torch.device,
    events: EventLog,
) -> None:
    """Say what will run, before the first window."""
    stream = build_stream(domains, config.continual, config.run.epochs)
    events.emit(
        "run_started",
        config=to_dict(config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_tasks=len(stream.tasks),
        total_windows=sum(windows_by_task(config, stream)),
        output_dir=str(folder.path),
        device=str(device),
        environment=describe_environment(device),
    )
    for sentence in warnings:
        events.emit("warning", message=sentence)
    events.emit("operations", **explain(device))
    compile_kernels_of(config, device, events)


def _print_plan(config: RunConfig, warnings: list[str], console: ConsoleListener, device: torch.device) -> int:
    events = EventLog()
    events.listeners.append(console)
    num_domains = config.continual.num_tasks if config.continual.continual_learning else None
    tokenizer, domains = load_domains(config.data, cache_folder(), events, num_domains)
    for sentence in warnings:
        events.emit("warning", message=sentence)
    stream = build_stream(domains, config.continual, config.run.epochs)
    compile_kernels_of(config, device, announced_events())
    print_plan(config, stream, build_model(config, tokenizer.vocab_size), device, Path(config.folder))
    return 0
