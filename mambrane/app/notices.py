"""What a command says beside its answer: lines on standard error, so that standard output holds the answer alone."""

from rich.console import Console
from rich.text import Text

from mambrane.core.events import Event, EventLog


def announced_events() -> EventLog:
    """Return an event log without a file, whose warnings and announcements go to standard error."""
    events = EventLog()
    events.listeners.append(_announce)
    return events


def _announce(event: Event) -> None:
    kind = event["event"]
    if kind == "checkpoint_damaged":
        _warn(f"{event['path']} is damaged ({event['file']}: {event['found']}); an older checkpoint is used")
    elif kind == "file_skipped":
        others = f" and {event['count'] - 1} more" if event.get("count", 1) > 1 else ""
        _warn(f"{event['path']}{others} passed over: {event['reason']}")
    elif kind in ("warning", "text_left_out", "cache_damaged"):
        _warn(event["message"])
    elif kind == "compiling":
        _say(Text(event["message"]))


def _warn(words: str) -> None:
    _say(Text.assemble(("warning", "yellow"), " ", words))


def _say(line: Text) -> None:
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)
