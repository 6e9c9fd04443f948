"""A session: a process that goes on with a run in its folder, under one configuration, through some of its tasks.

The tasks of a run are those that its checkpoint knows, and those that a session adds behind them
(docs/decisions/open-stream.md). Nothing is printed here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from mambrane.continual.outcome import Outcome
from mambrane.continual.stream import Stream, Task, build_stream, stream_of_records
from mambrane.core.device import describe_environment
from mambrane.core.errors import UserError
from mambrane.core.events import Event, EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.config import DataConfig
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records, write_domain_records
from mambrane.data.domains import Domain, read_texts, tokenize_texts
from mambrane.data.tokenizer import Tokenizer
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.signals import StopRequest
from mambrane.run.arithmetic import arithmetic_of
from mambrane.run.build import build_model, build_task_kind
from mambrane.run.kernels import compile_kernels_of
from mambrane.run.own_text import domain_of_record, keep_heldout_text
from mambrane.settings.config import RunConfig
from mambrane.settings.initial import start_from
from mambrane.settings.memory_share import with_replay_size
from mambrane.settings.saved_config import read_configuration
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.training.announcements import announce, announce_time
from mambrane.training.assembly import build_runner, restore
from mambrane.training.environment import compare_environment
from mambrane.training.place import Place
from mambrane.training.reference import load_reference
from mambrane.training.shown_model import show_samples, weights_shown
from mambrane.watch.loggers import make_loggers

Listeners = Sequence[Callable[[Event], None]]


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Tasks that a session adds, with the domains that are new."""

    tasks: tuple[Task, ...]
    domains: tuple[Domain, ...]


def read_listening(
    config: DataConfig, listeners: Listeners, num_domains: int | None
) -> tuple[list[Corpus], list[Event]]:
    """Read text before there is a log to write to; returns the events on the way, for the run's log."""
    early_events: list[Event] = []
    events = EventLog()
    events.listeners += [*listeners, early_events.append]
    return read_texts(config, cache_folder(), events, num_domains), early_events


@contextmanager
def log_of(
    folder: RunFolder,
    listeners: Listeners,
    early_events: Sequence[Event] = (),
    *,
    loggers: Sequence[str],
    is_first: bool = True,
) -> Iterator[EventLog]:
    """Open the log of a run, with the events from before it was open, for listeners and loggers (by name)."""
    events = EventLog(folder.events_file if is_first else None)
    for event in early_events:
        fields = {name: value for name, value in event.items() if name not in ("time_s", "event")}
        events.emit(event["event"], **fields)
    with closing(events), ExitStack() as at_end:
        if is_first:
            made = make_loggers(loggers, folder)
            events.listeners += [*listeners, *made]
            for logger in made:
                at_end.callback(events.close_listener, logger)
        yield events


def run_session(
    config: RunConfig,
    folder: RunFolder,
    tokenizer: Tokenizer,
    at_hand: Sequence[Domain],
    *,
    place: Place | None,
    addition: Addition | None = None,
    from_outside: Sequence[object] = (),
    warnings: Sequence[str] = (),
    events: EventLog,
    stop: StopRequest,
    device: torch.device,
    ranks: Ranks = ONE_RANK,
) -> Outcome:
    """Go on with a run until its tasks are learned or something asks to stop.

    The configuration is that of the tasks that are left, or added; an addition needs a run that has none left.
    `at_hand` is text that was read; of a run without a checkpoint (no place), all of it in order.

    Raises:
        UserError: text that is needed is nowhere.
    """
    if ranks.is_first:
        here = describe_environment(device, is_compiled=config.engine.compile) | {"num_processes": ranks.size}
        compare_environment(folder, here, events, must_be_same=config.run.require_same_environment)
    if place is None:
        stream = build_stream(at_hand, config.continual, config.run.epochs)
    else:
        known = place
        stream = ranks.first_before_others(lambda: known_stream(known, folder, config, tokenizer, at_hand))
    whole = stream if addition is None else stream.extended(addition.tasks, addition.domains)
    model = build_model(config, tokenizer.vocab_size)
    steps_taken = [] if place is None else place.state.get("steps_taken", [])
    announce(config, from_outside, warnings, folder, whole, steps_taken, model, device, events)
    ranks.first_before_others(lambda: compile_kernels_of(config, device, events))
    starts_over = place is not None and any(task["starts_over"] for task in place.tasks_to_begin)
    ranks.first_before_others(lambda: start_from(config, folder, model, tokenizer, events, starts_over=starts_over))
    if addition is not None and place is not None:
        # What is built anew for the added tasks, such as a path or an anchor, begins at these weights.
        model.load_state_dict(place.checkpoint.weights["model"])
    checkpoints = Checkpoints(folder.checkpoints_folder, keep=config.engine.keep_checkpoints, events=events)
    with BackgroundSaver(checkpoints) as saver:
        # Added tasks make a share of the text larger; those that the checkpoint knows go on with what they have.
        saved = place.state if place is not None and addition is None else None
        runner = build_runner(
            with_replay_size(config, whole, saved),
            stream,
            model,
            folder,
            device=device,
            events=events,
            should_stop=lambda: stop.requested,
            saver=saver,
            from_outside=from_outside,
            reference=load_reference(config, tokenizer, events),
            ranks=ranks,
            began=read_configuration(folder),
        )
        if place is not None:
            restore(runner, place.checkpoint, take_up=addition is not None)
            events.emit("resumed", step=place.checkpoint.step)
        if addition is not None:
            runner.extend(addition.tasks, addition.domains)
        is_sharded = runner.trainer.is_sharded
        if ranks.is_first and not is_sharded:
            # A whole model is run for it, which may not fit where pieces do.
            announce_time(config, runner, tokenizer.vocab_size, device, events)
        shows = ranks.is_first or is_sharded
        with arithmetic_of(config, device), weights_shown(runner, events) if shows else nullcontext():
            outcome = runner.run()
        if outcome.is_finished and ranks.is_first and build_task_kind(config, device).is_text:
            show_samples(runner, model, tokenizer, events)
    # Behind the last save, so that every process finds the run as it ends.
    signal_number = max(ranks.gather(stop.signal_number or 0)) or None
    return outcome._replace(signal_number=signal_number)


def known_stream(
    place: Place, folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, at_hand: Sequence[Domain]
) -> Stream:
    """Return the tasks that a checkpoint knows, with their text as far as it is needed.

    Held-out text comes from the copies in the folder; text to learn from is asked for only where a task is left.

    Raises:
        UserError: the text of a task that is left is nowhere.
    """
    found, damage = read_domain_records(folder.domains_file)
    records = {record["content_hash"]: record for record in found}
    texts = {domain.content_hash: domain for domain in at_hand}
    left = {column for task in place.tasks_left for column in task["read_columns"]}
    domains = []
    for column, (name, content_hash) in enumerate(place.text.items()):
        domain = texts.get(content_hash)
        if domain is None and content_hash not in records:
            raise UserError(
                f"the text of {name} changed since the run was saved"
                if damage is None
                else f"{damage}; {name} is not found",
                wanted="the text that the run started with",
                way_out="restore it, or start a new run in another --output-dir",
            )
        if domain is None:
            domain = domain_of_record(records[content_hash], folder, tokenizer)
        if domain is None or (column in left and domain.train.num_tokens == 0):
            domain = _read_again(records[content_hash], config, tokenizer)
        if domain is None:
            raise UserError(
                f"{folder.path} is in the midst of learning {name}, and that text is neither where it was nor in the "
                "cache",
                wanted="the text of the task that is not finished",
                way_out=f"mambrane learn {folder.path} --data with the place where the text lies now",
            )
        num_tokens = place.state.get("train_tokens", {}).get(name, 0)
        domains.append(replace(domain, name=name, known_train_tokens=num_tokens))
    return stream_of_records(place.tasks, domains)


def text_of_beginning(began: RunConfig, tokenizer: Tokenizer) -> list[Domain]:
    """Return the text that a run began with, if it is still where the run found it."""
    return _read_where(began.data.data, began, tokenizer)


def _read_again(record: Mapping[str, Any], config: RunConfig, tokenizer: Tokenizer) -> Domain | None:
    """Return a text read where the run found it, or None where it is not there any more."""
    found = _read_where(record.get("data", config.data.data), config, tokenizer, record["content_hash"])
    return found[0] if found else None


def _read_where(
    locations: Sequence[str], config: RunConfig, tokenizer: Tokenizer, only: str | None = None
) -> list[Domain]:
    """Return the text in these places, or the one of this content hash; none where it cannot be read."""
    data = replace(config.data, data=tuple(locations))
    try:
        texts = read_texts(data, cache_folder(), EventLog())
        texts = [text for text in texts if only in (None, text.content_hash)]
        if not texts:
            return []
        _, domains = tokenize_texts(texts, data, cache_folder(), EventLog(), is_stream=True, tokenizer=tokenizer)
    except UserError:
        return []
    return domains


def named_apart(domains: Sequence[Domain], taken: Sequence[str]) -> list[Domain]:
    """Return domains under names that no domain of the run has: letters, letters-2."""
    names, apart = list(taken), []
    for domain in domains:
        number, name = 1, domain.name
        while name in names:
            number += 1
            name = f"{domain.name}-{number}"
        names.append(name)
        apart.append(replace(domain, name=name))
    return apart


def write_down(
    folder: RunFolder, texts: Sequence[Corpus], addition: Addition, config: RunConfig, events: EventLog, ranks: Ranks
) -> None:
    """Add the texts that a session brings to domains.json, and keep what is held out of them; the first process does.

    The others return when it is done.
    """
    if ranks.is_first:
        _write_down(folder, texts, addition, config, events)
    ranks.wait()


def _write_down(
    folder: RunFolder, texts: Sequence[Corpus], addition: Addition, config: RunConfig, events: EventLog
) -> None:
    new = {domain.content_hash: domain for domain in addition.domains}
    records = read_domain_records(folder.domains_file).records
    known = {record["content_hash"] for record in records}
    records += [
        {**domain.record, "name": domain.name, "data": list(config.data.data)}
        for content_hash, domain in new.items()
        if content_hash not in known
    ]
    write_domain_records(folder.domains_file, records)
    added = [text for text in texts if text.content_hash in new]
    keep_heldout_text(folder, added, config.data.keep_heldout_bytes, events)
