"""`mambrane train --dry-run`: what would happen, how long it may take, and nothing else."""

import time
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from mambrane.app.info import parts_table
from mambrane.continual.stream import Stream
from mambrane.data.loader import WindowLoader
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.precision import Precision, choose_precision
from mambrane.models.cost import count_costs
from mambrane.models.language_model import LanguageModel
from mambrane.run.build import build_task_kind, windows_by_task
from mambrane.run.config import RunConfig
from mambrane.watch.wording import duration

BYTES_PER_NUMBER = 4
"""float32, as all that is kept for each parameter."""
TIMED_STEPS = 2


def print_plan(config: RunConfig, stream: Stream, model: LanguageModel, device: torch.device, folder: Path) -> None:
    """Print tasks, tokens, parameters, memory and the expected time."""
    console = Console()
    tasks = Table(box=box.SIMPLE, title=f"plan of {folder}", title_justify="left", show_footer=True)
    kind_of_task = build_task_kind(config, device)
    loaders = [kind_of_task.make_loader(task) for task in stream.tasks]
    tokens = [loader.num_tokens * task.num_epochs for loader, task in zip(loaders, stream.tasks, strict=True)]
    windows = windows_by_task(config, stream)
    tasks.add_column("task", footer="total")
    for heading, total in (("epochs", config.run.epochs), ("windows", sum(windows)), ("tokens", sum(tokens))):
        tasks.add_column(heading, justify="right", footer=f"{total:,}")
    for task, num_windows, num_tokens in zip(stream.tasks, windows, tokens, strict=True):
        tasks.add_row(task.name, f"{task.num_epochs:,}", f"{num_windows:,}", f"{num_tokens:,}")
    console.print(tasks)
    console.print(parts_table(count_costs(model), title="model"))

    kind = choose_precision(config.engine.precision, mixed_precision=config.engine.mixed_precision, device=device)
    step_seconds, activation_bytes = _measure(model, loaders[0], device, kind)
    micro_batches = sum(
        loader.num_batches * task.num_epochs for loader, task in zip(loaders, stream.tasks, strict=True)
    )
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    sizes = {what: BYTES_PER_NUMBER * number * num_parameters for what, number in kept_by_parameter(config).items()}
    sizes["activations"] = activation_bytes
    parts = ", ".join(f"{what} {size / 2**20:,.0f}" for what, size in sizes.items())
    console.print(f"memory     about {sum(sizes.values()) / 2**20:,.0f} MiB: {parts}", soft_wrap=True)
    about = f"about {duration(step_seconds * micro_batches)} in {kind}"
    console.print(f"time       {about}, from {TIMED_STEPS} micro-batches measured now")
    if device.type == "cpu" and kind == "fp32":
        # Which one is faster depends on processor and sizes; only the user may give up exactness for it.
        bf16_seconds, _ = _measure(model, loaders[0], device, "bf16")
        console.print(
            f"           about {duration(bf16_seconds * micro_batches)} with --precision bf16, measured alike"
        )
    console.print("           (evaluations, Fisher information, distillation and checkpoints come on top)")


def kept_by_parameter(config: RunConfig) -> dict[str, int]:
    """Return how many numbers the run keeps for each parameter, by what needs them, from its second task on."""
    kept = {"weights, gradients and moments": 4}
    if config.engine.ema_decay > 0:
        kept["average"] = 1
    if config.plasticity.use_meta_plasticity:
        # Usage and the weights before the update; once there is an earlier task, importance, anchor and 1 - f.
        kept["meta-plasticity"] = 5 if config.has_earlier_tasks else 2
    if config.continual.consolidation_strength > 0:
        # Importance and anchor; si also walks with start, path, last weights and last gradients.
        springs = 2 if config.has_earlier_tasks else 0
        kept["consolidation"] = springs + 4 * (config.continual.consolidation_method == "si")
    if config.continual.distillation_strength > 0:
        kept["teacher"] = 1 if config.has_earlier_tasks else 0
    return kept


def _measure(model: LanguageModel, loader: WindowLoader, device: torch.device, kind: str) -> tuple[float, int]:
    """Return seconds and saved activation bytes of a micro-batch, forward and backward; weights stay as they are."""
    precision = Precision(kind, device)
    batch = next(iter(loader.epoch_batches())).to(device)
    model.to(device)
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def run() -> None:
        with precision.autocast():
            loss_sum = fused_next_token_objective(model, batch).loss_sum
        loss_sum.backward()
        model.zero_grad(set_to_none=True)

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    started_s = now_s(device)
    for _ in range(TIMED_STEPS):
        run()
    seconds = (now_s(device) - started_s) / TIMED_STEPS
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return seconds, sum(size for pointer, size in saved.items() if pointer not in weights)


def now_s(device: torch.device) -> float:
    """Return the time when all that was asked of the device is done: a GPU works on after the call has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
