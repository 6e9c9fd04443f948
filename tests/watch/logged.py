"""A short run as the events that loggers hear."""

from tests.watch.shown import step_event

EVENTS = [
    {"event": "run_started", "config": {"run": {"seed": 3}, "engine": {"learning_rate": 0.002}}},
    step_event(1, loss=3.0),
    {
        "event": "weights_measured",
        "step": 1,
        "weights": {"blocks.0.plastic.weight": {"low": -1.0, "high": 1.0, "counts": [1, 2, 3, 4]}},
    },
    {
        "event": "evaluation",
        "row": 1,
        "domain": "my <prose>",
        "measure": "bits_per_byte",
        "bits_per_byte": 2.5,
    },
    {"event": "sample", "step": 1, "domain": "my <prose>", "prompt": "once <b>", "continuation": " upon\na time"},
    {"event": "run_finished", "step": 1},
]


def tell(listener, events=EVENTS):
    for event in events:
        listener({"time_s": 1000.0, **event})
    listener.close()
