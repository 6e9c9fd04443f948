"""`mambrane train`: start a run, or go on with it. The same words do both."""

from contextlib import closing, suppress

import torch

from mambrane.app.memory import keep_freed_memory
from mambrane.app.notices import announced_events
from mambrane.app.plan import print_plan
from mambrane.app.samples import print_samples
from mambrane.app.streams import flush_or_give_up
from mambrane.continual.stream import build_stream
from mambrane.core.device import resolve_device
from mambrane.core.events import EventLog
from mambrane.data.domains import load_domains
from mambrane.run.build import build_model
from mambrane.run.config import RunConfig
from mambrane.run.folders import cache_folder
from mambrane.run.kernels import compile_kernels_of
from mambrane.run.train import train as train_run
from mambrane.watch.console import ConsoleListener


def train(config: RunConfig, warnings: list[str]) -> int:
    """Train, or resume; returns 0 at the end and 128 + signal number after a signal."""
    keep_freed_memory()
    console = ConsoleListener()
    if config.run.dry_run:
        return _print_plan(config, warnings, console, resolve_device(config.run.device))
    with closing(console):
        run = train_run(config, listeners=[console], warnings=warnings)
    if run.outcome.is_finished:
        samples = run.samples()
        with suppress(OSError, SystemExit):
            print_samples(samples)
    # Whether anybody could read along changes nothing about the run.
    flush_or_give_up("stdout")
    return run.outcome.exit_code


def _print_plan(config: RunConfig, warnings: list[str], console: ConsoleListener, device: torch.device) -> int:
    events = EventLog()
    events.listeners.append(console)
    num_domains = config.continual.num_tasks if config.continual.continual_learning else None
    tokenizer, domains = load_domains(config.data, cache_folder(), events, num_domains)
    for sentence in warnings:
        events.emit("warning", message=sentence)
    stream = build_stream(domains, config.continual, config.run.epochs)
    compile_kernels_of(config, device, announced_events())
    folder = config.folder_for([domain.content_hash for domain in domains])
    print_plan(config, stream, build_model(config, tokenizer.vocab_size), device, folder)
    return 0
