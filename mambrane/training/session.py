"""A session: one process at work on a run, from the moment its log is open. Nothing is printed here."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import torch

from mambrane.core.events import Event, EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.config import DataConfig
from mambrane.data.corpus import Corpus
from mambrane.data.domains import read_texts
from mambrane.engine.ranks import Ranks
from mambrane.engine.signals import StopRequest
from mambrane.storage.run_folder import RunFolder
from mambrane.watch.loggers import make_loggers

Listeners = Sequence[Callable[[Event], None]]


@dataclass(frozen=True, kw_only=True)
class Session:
    """What stays the same for one process as it goes through tasks of a run, whatever their settings."""

    folder: RunFolder
    """Of the run; the first process holds its lock."""
    events: EventLog
    """The log of the run; of other processes than the first, one that nobody reads."""
    stop: StopRequest
    """What asks to stop."""
    device: torch.device
    ranks: Ranks
    """The processes that train together."""


@contextmanager
def open_session(
    folder: RunFolder,
    listeners: Listeners,
    early_events: Sequence[Event] = (),
    *,
    loggers: Sequence[str],
    device: torch.device,
    ranks: Ranks,
) -> Iterator[Session]:
    """Open the log of a run and watch the signals that ask to stop.

    Args:
        folder: of the run.
        listeners: called with each event.
        early_events: what happened before the log was open.
        loggers: where the numbers go beside the log, by name.
        device: where the run computes.
        ranks: the processes that train together.
    """
    with (
        log_of(folder, listeners, early_events, loggers=loggers, is_first=ranks.is_first) as events,
        StopRequest(events) as stop,
    ):
        yield Session(folder=folder, events=events, stop=stop, device=device, ranks=ranks)


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
