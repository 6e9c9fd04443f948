"""The plan of a run as a value: tasks, steps, parameters, memory and time, before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mambrane.continual.stream import Stream, build_stream
from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domains import Domain, load_domains
from mambrane.engine.extensions import Extensions
from mambrane.layers.cost import ComponentCost
from mambrane.models.cost import count_costs
from mambrane.planning.gpu_time import H100, predict
from mambrane.planning.rehearsal import META, Rehearsal, loops_over_tokens, rehearse
from mambrane.run.arithmetic import precision_of
from mambrane.run.build import build_model, build_task_kind
from mambrane.settings.config import RunConfig, to_dict
from mambrane.settings.initial import initial_tokenizer, place_hash
from mambrane.settings.memory_share import with_replay_size
from mambrane.settings.methods import methods_of
from mambrane.settings.outside import with_extensions
from mambrane.training.assembly import steps_by_task
from mambrane.training.timing import ExpectedTime, MicroBatchCost, expected_time, measure_micro_batch, product_rate

BYTES_PER_NUMBER = 4
"""float32, as all that is kept for each parameter."""


MOST_MEASURED_FLOPS = 3e12
"""Operations of a micro-batch that a CPU is asked for to measure it: some seconds on two cores."""


class TaskPlan(NamedTuple):
    """What is learned between two boundaries."""

    name: str
    epochs: int
    steps: int
    tokens: int


class GpuPlan(NamedTuple):
    """What the run would take on a GPU that is not here: a prediction, nothing is measured."""

    name: str
    seconds: float
    tokens_per_s: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run would do."""

    config: RunConfig
    """Every setting, those of extensions with all of their own."""
    folder: Path
    """Folder of the run."""
    domains: tuple[Domain, ...]
    tasks: tuple[TaskPlan, ...]
    parts: tuple[ComponentCost, ...]
    """Parameters and cost of the model, part by part."""
    precision: str
    memory_bytes: dict[str, int]
    """Memory by what needs it."""
    time: ExpectedTime
    is_measured: bool
    """Whether micro-batches were run for time and memory; one that would take minutes is only counted."""
    on_gpu: GpuPlan | None
    """The same on a GPU, where the run would be on a CPU."""
    time_in_bf16: ExpectedTime | None
    """The same with --precision bf16, where that is another choice on this device."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return sum(task.steps for task in self.tasks)

    @property
    def parameters(self) -> int:
        """Parameters of the model."""
        return sum(part.parameters for part in self.parts)

    def to_dict(self, warnings: Sequence[str] = ()) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "config": to_dict(self.config),
            "output_dir": str(self.folder),
            "extensions": list(self.config.run.extension),
            "domains": [domain.summary for domain in self.domains],
            "tasks": [task._asdict() for task in self.tasks],
            "steps": self.steps,
            "parameters": self.parameters,
            "precision": self.precision,
            "memory_bytes": sum(self.memory_bytes.values()),
            "memory_bytes_by_part": self.memory_bytes,
            "seconds": round(self.time.seconds, 1),
            "is_measured": self.is_measured,
            "predicted_on_gpu": None if self.on_gpu is None else self.on_gpu._asdict(),
            "seconds_by_part": {name.removesuffix("_s"): round(part, 1) for name, part in self.time._asdict().items()},
            "warnings": list(warnings),
        }


def make_plan(config: RunConfig, device: torch.device, events: EventLog) -> Plan:
    """Read the text, build the model and measure a few micro-batches; nothing is left behind but the text's cache.

    Extensions from other packages are loaded and looked at as a run would, and do nothing.

    Raises:
        UserError: a setting or a text that a run would be refused for.
    """
    config, from_outside = with_extensions(config, ())
    Extensions.of(*from_outside)
    tokenizer, domains = load_domains(
        config.data, cache_folder(), events, config.num_domains, tokenizer=initial_tokenizer(config)
    )
    stream = build_stream(domains, config.continual, config.run.epochs)
    with META:
        model = build_model(config, tokenizer.vocab_size)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    kind = precision_of(config, device)
    kind_of_task = build_task_kind(config, device)
    loaders = [kind_of_task.make_loader(task) for task in stream.tasks]
    rehearsed = None
    if device.type == "cpu" and not loops_over_tokens(config):
        rehearsed = rehearse(config, tokenizer.vocab_size, "bf16")
    is_measured = rehearsed is None or rehearsed.flops < MOST_MEASURED_FLOPS
    in_bf16 = None
    if rehearsed is None or is_measured:
        model = build_model(config, tokenizer.vocab_size)
        batch = next(iter(loaders[0].epoch_batches()))
        cost = measure_micro_batch(config, model, batch, device, kind)
    else:
        cost = MicroBatchCost(rehearsed.flops / product_rate(device), rehearsed.saved_bytes)
    if is_measured and device.type == "cpu" and kind == "fp32":
        # Which one is faster depends on processor and sizes; only the user may give up exactness for it.
        in_bf16 = expected_time(config, stream, measure_micro_batch(config, model, batch, device, "bf16").seconds)
    memory = {what: BYTES_PER_NUMBER * number * num_parameters for what, number in kept_by_parameter(config).items()}
    for what, num_bytes in kept_bytes(with_replay_size(config, stream)).items():
        memory[what] = memory.get(what, 0) + num_bytes
    return Plan(
        config=config,
        folder=config.folder_for([*(domain.content_hash for domain in domains), *place_hash(config)]),
        domains=tuple(domains),
        tasks=tuple(
            TaskPlan(task.name, task.num_epochs, steps, loader.num_tokens * task.num_epochs)
            for task, loader, steps in zip(stream.tasks, loaders, steps_by_task(config, stream), strict=True)
        ),
        parts=tuple(count_costs(model)),
        precision=kind,
        memory_bytes={**memory, "activations": cost.activation_bytes},
        time=expected_time(config, stream, cost.seconds),
        is_measured=is_measured,
        on_gpu=_on_gpu(config, stream, rehearsed, sum(memory.values())) if rehearsed else None,
        time_in_bf16=in_bf16,
    )


def _on_gpu(config: RunConfig, stream: Stream, rehearsed: Rehearsal, kept_bytes: int) -> GpuPlan:
    predicted = predict(config, rehearsed, compiled=config.engine.compile)
    seconds = expected_time(config, stream, predicted.step_s / config.engine.accumulation_steps).seconds
    return GpuPlan(H100.name, seconds, predicted.tokens_per_s, kept_bytes + rehearsed.saved_bytes)


def kept_by_parameter(config: RunConfig) -> dict[str, int]:
    """Return how many numbers the run keeps for each parameter, by what needs them, from its second task on."""
    kept = {"weights, gradients and moments": 4}
    if config.engine.ema_decay > 0:
        kept["average"] = 1
    for method in methods_of(config):
        if number := method.kept_per_parameter(config):
            kept[method.name.replace("_", " ")] = number
    return kept


def kept_bytes(config: RunConfig) -> dict[str, int]:
    """Return what methods keep beside that, in bytes: buffers of a size of their own."""
    found = {method.name.replace("_", " "): method.kept_bytes(config) for method in methods_of(config)}
    return {name: num_bytes for name, num_bytes in found.items() if num_bytes}
