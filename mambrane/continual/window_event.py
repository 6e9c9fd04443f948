"""What the event log says about a closed window: the engine's result with its place in the run and its speed."""

import math
from typing import Any

from mambrane.continual.stream import Task
from mambrane.engine.step import WindowResult

NAMED_NUMBERS = {"firing_rate": "activity/firing_rate", "replayed_fraction": "replay/fraction"}
"""Numbers of extensions that stand on a line of their own, where the run has that extension."""


def window_event(result: WindowResult, task: Task, *, step: int, epoch: int, seconds: float) -> dict[str, Any]:
    """Return the fields of a "window" event.

    Bits per byte follow from the loss by the tokens per byte of the task's text; replayed text may have others.
    """
    tokens_per_byte = sum(file.num_tokens for file in task.train) / sum(file.num_bytes for file in task.train)
    event = {
        "state": result.state.name,
        "step": step,
        "task": task.index,
        "epoch": epoch,
        "loss": result.loss,
        "bits_per_byte": None if result.loss is None else result.loss * tokens_per_byte / math.log(2),
        "tokens": result.num_targets,
        "tokens_per_s": result.num_targets / seconds,
        "gradient_norm": result.gradient_norm,
        "learning_rate": result.learning_rate,
        "scale": result.scale,
        "terms": result.terms,
        "penalties": result.penalties,
        "numbers": result.numbers,
    }
    named = {name: result.numbers[key] for name, key in NAMED_NUMBERS.items() if key in result.numbers}
    return event | named
