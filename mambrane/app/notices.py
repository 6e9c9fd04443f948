"""What a command says beside its answer: lines on standard error, so that standard output holds the answer alone."""

from rich.console import Console
from rich.text import Text

from mambrane.core.events import Event, EventLog
from mambrane.watch.wording import left_out_words, skipped_words, smaller_tokenizer_words


def announced_events() -> EventLog:
    """Return an event log without a file, whose warnings and announcements go to standard error."""
    events = EventLog()
    events.listeners.append(_announce)
    return events


def warning_of(event: Event) -> str | None:
    """Return what an event warns of, in words; None where it warns of nothing."""
    kind = event["event"]
    if kind == "checkpoint_damaged":
        return f"{event['path']} is damaged ({event['file']}: {event['found']}); an older checkpoint is used"
    if kind == "file_skipped":
        return skipped_words(event)
    if kind == "domains_left_out":
        return left_out_words(event)
    if kind == "tokenizer_smaller_than_asked":
        return smaller_tokenizer_words(event)
    return event["message"] if kind in ("warning", "text_left_out", "cache_damaged") else None


def _announce(event: Event) -> None:
    warning = warning_of(event)
    if warning is not None:
        _say(Text.assemble(("warning", "yellow"), " ", warning))
    elif event["event"] == "compiling":
        _say(Text(event["message"]))


def _say(line: Text) -> None:
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)
