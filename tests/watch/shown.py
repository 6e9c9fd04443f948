"""Events of a run, and what the console makes of them."""

import io

from mambrane.watch.console import ConsoleListener


def step_event(step, **fields):
    event = {
        "time_s": 1000.0 + step,
        "event": "step",
        "state": "COMMITTED",
        "step": step,
        "epoch": 0,
        "loss": 4.0,
        "bits_per_byte": 5.77,
        "tokens": 2048,
        "tokens_per_s": 1024.0,
        "gradient_norm": 0.8312,
        "learning_rate": 9.2e-4,
        "scale": 1.0,
        "numbers": {"activity/firing_rate": 0.1214, "replay/fraction": 0.0},
    }
    return {**event, **fields}


def task_started(**fields):
    event = {"time_s": 1000.0, "event": "task_started", "task": 0, "name": "python", "epochs": 6, "steps": 30}
    return {**event, **fields}


def shown(events, file=None, **options):
    file = io.StringIO() if file is None else file
    listener = ConsoleListener(file, **options)
    for event in events:
        listener(event)
    listener.close()
    return file.getvalue()


def lines_with(word, text):
    return [line for line in text.splitlines() if word in line]
