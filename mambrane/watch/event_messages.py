"""Events as sentences for a reader. Kinds with more than a line to say are the console's own affair."""

from collections.abc import Callable

from mambrane.core.events import Event
from mambrane.watch import formatting

Words = Callable[[Event], str]


def skipped_file(event: Event) -> str:
    """Return which file was passed over, of how many of its kind, and why."""
    others = f" and {event['count'] - 1:,} more" if event.get("count", 1) > 1 else ""
    return f"{formatting.visible(event['path'])}{others} passed over: {event['reason']}"


def _filled_in(event: Event) -> str:
    settings = ", ".join(f"{name} = {formatting.value(item)}" for name, item in event["settings"].items())
    return f"the run was saved before these settings existed; they have their defaults: {settings}"


WARNINGS: dict[str, Words] = {
    "warning": lambda e: e["message"],
    "text_left_out": lambda e: f"text left out: {e['message']}",
    "cache_damaged": lambda e: e["message"],
    "heldout_text_not_kept": lambda e: e["message"],
    "heldout_text_repeats_training_text": lambda e: e["message"],
    "listener_failed": lambda e: e["message"],
    "file_skipped": skipped_file,
    "domains_left_out": lambda e: f"text that no task learns: {', '.join(map(formatting.visible, e['names']))}",
    "classes_left_out": lambda e: (
        f"classes of {formatting.visible(e['data'])} that no task learns: {', '.join(map(str, e['classes']))} "
        f"(--classes-per-task {e['classes_per_task']})"
    ),
    "tokenizer_smaller_than_asked": lambda e: (
        f"the text gives {e['vocab_size']:,} tokens in place of the {e['asked']:,} that --tokenizer asks for"
    ),
    "settings_filled_in": _filled_in,
    "checkpoint_damaged": lambda e: f"{e['path']} is damaged ({e['file']}: {e['found']}); an older checkpoint is used",
    "checkpoints_not_pruned": lambda e: f"old checkpoints could not be removed: {e['reason']}",
    "leftover_not_removed": lambda e: f"{e['path']}, left over from a save, could not be removed: {e['reason']}",
    "task_taken_back": lambda e: (
        f"task {formatting.visible(e['name'])} is taken back: {e['reason']}; the run is what it was after step "
        f"{formatting.count(e['step'])}"
    ),
    "step_skipped": lambda e: f"step {formatting.count(e['number'])} skipped: {e['reason']}",
    "step_empty": lambda e: f"step {formatting.count(e['number'])} has nothing to learn: {e['reason']}",
    "loss_spike": lambda e: (
        f"loss spike at step {formatting.count(e['step'])}: {formatting.decimal(e['loss'])} nats/token where "
        f"{formatting.decimal(e['usual'])} is usual"
    ),
    "out_of_memory": lambda e: (
        f"memory ran out on {formatting.count(e['tokens'])} tokens at once; they are computed in two halves"
        if e["samples"] > 1
        else f"memory ran out on {formatting.count(e['tokens'])} tokens"
    ),
    "precision_changed": lambda e: (
        f"the run was saved in {e['saved']} and goes on in {e['now']}: its numbers will differ"
    ),
    "epoch_without_steps": lambda e: (
        f"an epoch has fewer micro-batches than a step takes; {e['carried']} wait for the next"
    ),
    "tail_dropped": lambda e: f"the last {e['micro_batches']} micro-batches are not learned: {e['reason']}",
    "signals_not_watched": lambda e: f"Ctrl-C and SIGTERM end this run without a save: {e['reason']}",
}
"""What a reader should know about and may want to act on."""

NOTES: dict[str, Words] = {
    "compiling": lambda e: e["message"],
    "parameters_added": lambda e: f"parameters added to the optimizer: {', '.join(e['names'])}",
    "resumed": lambda e: f"resumed after step {formatting.count(e['step'])}",
    "switches": lambda e: formatting.switches(e["on"], e["off"]),
}

WITHOUT_MESSAGE = frozenset(
    {
        "study_started",
        "study_finished",
        "cell_started",
        "cell_finished",
        "cell_failed",
        "task_finished",
        "task_decided",
        "checkpoint_loaded",
        "checkpoint_removed",
        "step_aborted",
        "text_read",
        "weights_measured",
        "sample",
    }
)
"""Kinds that say nothing new to a reader who saw the others; those of a study are told by its own table."""


def warning_of(event: Event) -> str | None:
    """Return what an event warns of; None where it warns of nothing."""
    words = WARNINGS.get(event["event"])
    return None if words is None else words(event)


def note_of(event: Event) -> str | None:
    """Return what an event tells in a line; a kind that is not known here speaks by its `message`, or not at all."""
    kind = event["event"]
    if kind in NOTES:
        return NOTES[kind](event)
    return None if kind in WITHOUT_MESSAGE else event.get("message")
