"""`mambrane train --dry-run`: what would happen, how long it may take, and nothing else."""

import json
import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from mambrane.app.info import parts_table
from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.core.events import EventLog
from mambrane.planning.plan import Plan, make_plan
from mambrane.run.arithmetic import arithmetic_of
from mambrane.run.kernels import compile_kernels_of
from mambrane.settings.config import RunConfig
from mambrane.settings.effects import warnings_of_machine
from mambrane.settings.outside import extension_lines
from mambrane.settings.shown_switches import on_and_off
from mambrane.training.timing import TIMED_MICRO_BATCHES
from mambrane.watch.event_messages import warning_of
from mambrane.watch.formatting import duration, percent, size, switches
from mambrane.watch.plain_console import plain_console


def print_plan(config: RunConfig, warnings: Sequence[str], *, as_json: bool) -> int:
    """Print the plan of a run, warnings included, as tables or as one JSON object; progress goes to standard error."""
    device = resolve_device(config.run.device)
    said = [*warnings, *warnings_of_machine(config, device.type)]
    events = EventLog()
    events.listeners.append(lambda event: said.extend(filter(None, [warning_of(event)])))
    compile_kernels_of(config, device, announced_events())
    with arithmetic_of(config, device):
        plan = make_plan(config, device, events)
    if as_json:
        sys.stdout.write(json.dumps(plan.to_dict(said), indent=2) + "\n")
        return 0
    console = plain_console()
    console.print(f"plan of {plan.folder}\n{switches(*on_and_off(config))}\n", soft_wrap=True)
    for extension in extension_lines(plan.config.run.extension):
        console.print(extension, soft_wrap=True)
    console.print(_text_table(plan), _tasks_table(plan), parts_table(plan.parts, title="model"), sep="")
    for line in (*_memory_and_time(plan), *(f"warning    {sentence}" for sentence in said)):
        console.print(line, soft_wrap=True)
    return 0


def _text_table(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE, title="text", title_justify="left")
    table.add_column("domain")
    for heading in ("there", "read", "to learn", "held out", "overlap"):
        table.add_column(heading, justify="right")
    for domain in plan.domains:
        there = "unknown" if domain.bytes_there is None else size(domain.bytes_there)
        read = (domain.bytes_read, domain.train.num_bytes, domain.heldout_bytes)
        table.add_row(domain.name, there, *map(size, read), percent(domain.overlap_ratio))
    return table


def _tasks_table(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE, title="tasks", title_justify="left", show_footer=True)
    table.add_column("task", footer="total")
    totals = (plan.config.run.epochs, plan.steps, sum(task.tokens for task in plan.tasks))
    for heading, total in zip(("epochs", "steps", "tokens"), totals, strict=True):
        table.add_column(heading, justify="right", footer=f"{total:,}")
    for task in plan.tasks:
        table.add_row(task.name, f"{task.epochs:,}", f"{task.steps:,}", f"{task.tokens:,}")
    return table


def _memory_and_time(plan: Plan) -> Iterator[str]:
    parts = ", ".join(f"{what} {num_bytes / 2**20:,.0f}" for what, num_bytes in plan.memory_bytes.items())
    yield f"memory     about {sum(plan.memory_bytes.values()) / 2**20:,.0f} MiB beside the program: {parts}"
    source = (
        f"{TIMED_MICRO_BATCHES} micro-batches measured now"
        if plan.is_measured
        else "the arithmetic of a micro-batch and the rate of products here: too much to run one now"
    )
    yield (
        f"time       about {duration(plan.time.seconds)} in {plan.precision}, {duration(plan.time.evaluation_s)} of it "
        f"evaluation, from {source}"
    )
    if plan.time_in_bf16 is not None:
        yield f"           about {duration(plan.time_in_bf16.seconds)} with --precision bf16, measured alike"
    if plan.on_gpu is not None:
        yield (
            f"GPU        none is used here; an {plan.on_gpu.name} is predicted, not measured, to take about "
            f"{duration(plan.on_gpu.seconds)} ({plan.on_gpu.tokens_per_s:,.0f} tokens/s) and "
            f"{plan.on_gpu.memory_bytes / 2**30:,.1f} GiB"
        )
    yield "           (Fisher information, distillation, checkpoints and samples come on top)"
