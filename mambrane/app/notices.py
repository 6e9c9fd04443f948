"""What a command says beside its answer: lines on standard error, so that standard output holds the answer alone."""

from rich.text import Text

from mambrane.core.events import Event, EventLog
from mambrane.watch.event_messages import warning_of
from mambrane.watch.plain_console import plain_console


def announced_events() -> EventLog:
    """Return an event log without a file, whose warnings and announcements go to standard error."""
    events = EventLog()
    events.listeners.append(_announce)
    return events


def _announce(event: Event) -> None:
    warning = warning_of(event)
    if warning is not None:
        _say(Text.assemble(("warning", "yellow"), " ", warning))
    elif event["event"] == "compiling":
        _say(Text(event["message"]))


def _say(line: Text) -> None:
    plain_console(stderr=True).print(line, soft_wrap=True)
