"""What a session says before its first step: what will run, what is on and off, and about how long it takes."""

from collections.abc import Sequence

from mambrane.continual.runner import Runner
from mambrane.continual.stream import Stream
from mambrane.core.device import describe_environment
from mambrane.engine.precision import dtype_of_products
from mambrane.models.language_model import LanguageModel
from mambrane.ops.dispatch import explain
from mambrane.run.kernels import all_operations_of
from mambrane.settings.config import RunConfig, to_dict
from mambrane.settings.effects import warnings_of_machine
from mambrane.settings.methods import shown_numbers
from mambrane.settings.outside import arguments_of, extension_lines
from mambrane.settings.presets import smaller_presets
from mambrane.settings.shown_switches import on_and_off
from mambrane.training.assembly import steps_by_task
from mambrane.training.session import Session
from mambrane.training.timing import expected_time_now


def announce(
    session: Session,
    config: RunConfig,
    stream: Stream,
    model: LanguageModel,
    *,
    steps_taken: Sequence[int],
    from_outside: Sequence[object],
    warnings: Sequence[str],
) -> None:
    """Say what will run, before the first step; `steps_taken` are those of each task that is learned."""
    device, events = session.device, session.events
    left = Stream(tasks=stream.tasks[len(steps_taken) :], domains=stream.domains)
    events.emit(
        "run_started",
        config=to_dict(config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_tasks=len(stream.tasks),
        total_steps=sum(steps_taken) + sum(steps_by_task(config, left)),
        output_dir=str(session.folder.path),
        device=str(device),
        shown_numbers=shown_numbers(config, from_outside),
        environment=describe_environment(device, is_compiled=config.engine.compile),
    )
    on, off = on_and_off(config, len(stream.tasks))
    events.emit("switches", on=on, off=off)
    for extension in from_outside:
        for line in extension_lines(arguments_of(extension)):
            events.emit("extension", message=line)
    for sentence in (*warnings, *warnings_of_machine(config, device.type)):
        events.emit("warning", message=sentence)
    reasons = explain(device, dtype_of_products(config.engine, device))
    events.emit("operations", **{name: reasons[name] for name in all_operations_of(config)})


def announce_time(session: Session, config: RunConfig, runner: Runner, vocab_size: int) -> None:
    """Say about how long what is left will take; a finished run has nothing left."""
    left = Stream(tasks=runner.stream.tasks[runner.progress.num_learned :], domains=runner.stream.domains)
    steps = steps_by_task(config, left)
    steps_left = sum(steps) - runner.progress.steps_closed
    if config.run.max_steps > 0:
        steps_left = min(steps_left, config.run.max_steps - runner.trainer.counters.applied)
    if steps_left <= 0 or not left.tasks:
        return
    time = expected_time_now(config, left, vocab_size, session.device)
    session.events.emit(
        "expected_time",
        seconds=time.seconds * steps_left / sum(steps),
        steps_left=steps_left,
        smaller_presets=smaller_presets(config),
    )
