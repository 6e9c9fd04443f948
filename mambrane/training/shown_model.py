"""What the log says of the model itself, for loggers and the report: histograms of its weights, texts that it wrote."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mambrane.continual.runner import Runner
from mambrane.core.events import Event, EventLog
from mambrane.data.tokenizer import Tokenizer
from mambrane.measure.distributions import weight_histograms
from mambrane.models.language_model import LanguageModel
from mambrane.run.samples import write_samples
from mambrane.run.saved import WEIGHTS_LABELS


@contextmanager
def weights_shown(runner: Runner, events: EventLog) -> Iterator[None]:
    """Emit "weights_measured" before the first step of a run, and whenever a task is finished inside the context.

    Where the weights lie in pieces, all processes are inside together.
    """

    def show() -> None:
        histograms = {name: each._asdict() for name, each in weight_histograms(runner.trainer.model).items()}
        events.emit("weights_measured", step=runner.trainer.counters.applied, weights=histograms)

    def listen(event: Event) -> None:
        if event["event"] == "task_finished":
            show()

    if runner.trainer.counters.applied == 0:
        show()
    events.listeners.append(listen)
    try:
        yield
    finally:
        events.listeners = [each for each in events.listeners if each is not listen]


def show_samples(runner: Runner, model: LanguageModel, tokenizer: Tokenizer, events: EventLog) -> None:
    """Emit "sample" for each domain whose held-out text is there: a beginning of it, and how the model goes on."""
    trainer = runner.trainer
    if trainer.is_sharded:
        message = "no samples: the weights lie in pieces (--shard); mambrane generate writes with those that are saved"
        events.emit("warning", message=message)
        return
    domains = [domain for domain in runner.stream.domains if domain.is_measurable]
    with trainer.evaluation():
        if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
            events.emit("warning", message="no samples: a weight of the model is not finite")
            return
        weights = WEIGHTS_LABELS["model" if trainer.ema is None else "ema"]
        for sample in write_samples(model, tokenizer, domains, weights=weights):
            named = {"domain": sample.title, "prompt": sample.prompt, "continuation": sample.continuation}
            events.emit("sample", step=trainer.counters.applied, settings=sample.settings, **named)
