"""What is measured on a GPU, piece by piece; each piece also runs on a CPU, where the tests call it."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.calls import BASE, Sizes, calls
from benchmarks.step import RandomText
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.measure.generation import generate_batch
from mambrane.models.language_model import LanguageModel
from mambrane.ops.dispatch import choose_backend
from mambrane.run.arithmetic import arithmetic_of
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import build_extensions
from mambrane.training.timing import now_s

TOLERANCE = 1e-3
"""Largest difference from the float64 reference, over the root mean square of it, in float32."""


def median_s(run: Callable[[], object], device: torch.device, *, rounds: int = 10) -> float:
    """Return the median time of a call, the queue of the device empty before and after."""
    for _ in range(3):
        run()
    found = []
    for _ in range(rounds):
        started_s = now_s(device)
        run()
        found.append(now_s(device) - started_s)
    return statistics.median(found)


def parity(device: torch.device, sizes: Sizes = BASE) -> Iterator[dict[str, Any]]:
    """Yield, for each operation, how far it is from its reference in float64 on the CPU, forward and backward."""
    for name, call in calls(sizes).items():
        exact, here = call.moved(torch.device("cpu"), torch.float64), call.moved(device, torch.float32)
        wanted, found = exact.outputs("reference")[:1], here.outputs()[:1]
        if name == "lif":
            # A spike is 0 or 1: another rounding would be another spike. The definition is the float32 reference.
            wanted = call.moved(torch.device("cpu"), torch.float32).outputs("reference")[:1]
        difference = largest_difference(wanted, found)
        row = {"operation": name, "backend": choose_backend(name, device, dtype=torch.float32), "forward": difference}
        if name != "lif":
            gradients = (each.gradients(each.outputs(form)) for each, form in ((exact, "reference"), (here, "auto")))
            row["backward"] = largest_difference(*gradients)
        yield {**row, "is_met": max(row["forward"], row.get("backward", 0.0)) <= (0.0 if name == "lif" else TOLERANCE)}


def largest_difference(wanted: list[Tensor], found: list[Tensor]) -> float:
    """Return the largest difference of any two tensors, over the root mean square of the first."""
    differences = [0.0]
    for exact, here in zip(*([each.detach() for each in side] for side in (wanted, found)), strict=True):
        size = exact.double().square().mean().sqrt().clamp(min=1e-30)
        differences.append(float((here.double().cpu() - exact.double()).abs().max() / size))
    return max(differences)


def operation_times(device: torch.device, sizes: Sizes = BASE, *, rounds: int = 10) -> Iterator[dict[str, Any]]:
    """Yield forward and backward times in bfloat16 inputs, and the memory that each must read and write."""
    for name, call in calls(sizes).items():
        here = call.moved(device, torch.bfloat16)
        outputs = here.outputs()
        forward_s = median_s(here.outputs, device, rounds=rounds)
        both_s = median_s(lambda here=here: here.gradients(here.outputs()), device, rounds=rounds)
        moved = sum(each.numel() * each.element_size() for each in (*here.inputs, outputs[0]))
        yield {
            "operation": name,
            "forward_us": 1e6 * forward_s,
            "backward_us": 1e6 * max(0.0, both_s - forward_s),
            "least_bytes": moved,
        }


def training(config: RunConfig, vocab_size: int, device: torch.device, *, steps: int = 5) -> dict[str, Any]:
    """Return tokens/s of whole steps with every switch on, and the largest memory on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with arithmetic_of(config, device):
        model = build_model(config, vocab_size).to(device)
        if config.engine.compile:
            for block in model.blocks:
                block.compile()
        trainer = Trainer(
            model,
            config.engine,
            device=device,
            events=EventLog(),
            extensions=build_extensions(config, model),
            objective=fused_next_token_objective,
        )
        trainer.begin_task(10_000)
        taken = trainer.steps(RandomText(config, vocab_size))
        for _ in range(2):
            next(taken)
        started_s = now_s(device)
        results = [next(taken) for _ in range(steps)]
        seconds = now_s(device) - started_s
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens = sum(result.num_targets for result in results)
    return {
        "parameters": parameters,
        "tokens_per_s": tokens / seconds,
        "step_ms": 1e3 * seconds / steps,
        "flops_per_s": 6 * parameters * tokens / seconds,
        "peak_bytes": peak,
    }


def long_sequences(
    config: RunConfig, device: torch.device, lengths: tuple[int, ...] = (1024, 4096, 16_384, 65_536)
) -> Iterator[dict[str, Any]]:
    """Yield the time of a micro-batch of one sequence, forward and backward, for a token."""
    for tokens in lengths:
        one = replace(config, data=replace(config.data, sequence_length=tokens, batch_size=1))
        model = build_model(one, 8192).to(device)
        batch = RandomText(one, 8192).batches[0].to(device)

        def run(model: LanguageModel = model, batch: Any = batch) -> None:  # noqa: ANN401 -- a micro-batch
            with torch.autocast(device.type, torch.bfloat16):
                fused_next_token_objective(model, batch).loss_sum.backward()
            model.zero_grad(set_to_none=True)

        yield {"tokens": tokens, "us_per_token": 1e6 * median_s(run, device, rounds=3) / tokens}


def generation(config: RunConfig, device: torch.device, *, tokens: int = 64) -> dict[str, float]:
    """Return tokens/s of one text that is written, token by token."""
    model = build_model(config, 257).to(device).eval()

    def write(count: int) -> None:
        generators = [make_generator(0, "text")]
        list(generate_batch(model, [[256]], max_tokens=count, end_of_text=256, generators=generators))

    write(4)
    started_s = now_s(device)
    write(tokens)
    return {"tokens_per_s": tokens / (now_s(device) - started_s)}


def is_resumed_exactly(device_name: str, *extra: str) -> bool:
    """Return whether the small main job, stopped and resumed with --deterministic, ends with the bits it would have."""
    from tests.contract.main_job import newest_weights, train, write_domains

    words = ("--device", device_name, "--deterministic", *extra)
    with tempfile.TemporaryDirectory() as folder:
        data = write_domains(Path(folder) / "texts")
        for name, steps in (("whole", ("12",)), ("parts", ("5", "12"))):
            for limit in steps:
                result = train(data, Path(folder) / name, *words, "--max-steps", limit)
                if result.returncode:
                    raise RuntimeError(result.stderr[-2000:])
        return newest_weights(Path(folder) / "whole") == newest_weights(Path(folder) / "parts")


def within(limit_s: float, started_s: float) -> bool:
    """Return whether there is time left."""
    return time.perf_counter() - started_s < limit_s
