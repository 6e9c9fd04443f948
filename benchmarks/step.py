"""Where the time of a training step goes, and how far it is from what the machine could do.

    python -m benchmarks.step [--presets tiny base] [--rounds 7] [--give-memory-back]

For each preset, with every part of the model and every switch on: the floor (products at the measured rate, scans at
the measured bandwidth), the step, its parts, the share of the engine, of plasticity and of a save. Prints Markdown and
writes benchmarks/results/step.json. The text is random: what the kernels do does not depend on it. As in a run, freed
memory stays in the process and torch's idle threads sleep soon; --give-memory-back and GOMP_SPINCOUNT=300000 (about
libgomp's own) show what these are worth, and then no results are written.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mambrane.app.openmp import SHORT_SPIN, limit_openmp_spin

limit_openmp_spin()

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import describe_machine, interleaved_ms, medians
from benchmarks.page import write_result
from mambrane.core.events import EventLog
from mambrane.core.memory import keep_freed_memory
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import BoundaryView, Extensions
from mambrane.engine.objective import Objective, fused_next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.models.cost import count_costs
from mambrane.models.language_model import LanguageModel
from mambrane.ops.linear import linear
from mambrane.ops.warm_up import compile_kernels
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import build_extensions
from mambrane.settings.presets import PRESETS
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.saver import BackgroundSaver

CPU = torch.device("cpu")
VOCABULARY = {"tiny": 257, "small": 257, "base": 8192}
COPY_FLOATS = 2**25
PARTS = {
    "products": (
        "mkldnn::_linear_pointwise",
        "aten::mm",
        "aten::addmm",
        "aten::bmm",
        "mambrane::sum_of_outer_products",
    ),
    "attention": ("mambrane::windowed_attention", "mambrane_windowed_attention"),
    "selective scan": ("mambrane::selective_scan", "mambrane_selective_scan"),
    "neurons and traces": ("mambrane::lif", "mambrane_lif", "mambrane::causal_trace", "mambrane_causal_trace"),
    "convolution": ("mambrane::causal_conv", "mambrane_causal_conv"),
    "skip and gate": ("mambrane::gated_skip", "mambrane_gated_skip"),
    "norms, steps, decays, gates, read-out, loss": tuple(
        beginning + name
        for name in ("rms_norm", "softplus", "steered_decay", "head_gate", "spike_read_out", "nats_of", "gradient_of")
        for beginning in ("mambrane::", "mambrane_")
    ),
    "copies and zeros": ("aten::copy_", "aten::cat", "aten::fill_", "aten::zero_"),
    "optimizer": ("aten::_fused_adamw",),
}
"""Operators of each part, by the beginning of their names; what is left is element by element work and Python."""


def with_everything(preset: str) -> RunConfig:
    """Return the preset with every part of the model and every switch on."""
    config = PRESETS[preset]()
    parts = {"use_mamba": True, "mamba_d_state": 32, "use_adaptive_gating": True, "use_cross_attention": True}
    return replace(
        config,
        model=replace(config.model, **parts),
        plasticity=replace(config.plasticity, use_stdp=True, use_meta_plasticity=True),
        continual=replace(config.continual, continual_learning=True, use_replay=True),
    )


class RandomText:
    """A loader whose epoch never ends."""

    def __init__(self, config: RunConfig, vocab_size: int) -> None:
        shape = (config.data.batch_size, config.data.sequence_length + 1)
        generator = torch.Generator().manual_seed(0)
        self.batches = []
        for _ in range(8):
            tokens_BT = torch.randint(0, vocab_size, shape, generator=generator)
            resets_BT = torch.zeros(shape[0], shape[1] - 1, dtype=torch.bool)
            resets_BT[:, 0] = True
            self.batches.append(MicroBatch(tokens_BT[:, :-1], tokens_BT[:, 1:], resets_BT))

    def epoch_batches(self) -> Iterator[MicroBatch]:
        """Yield the same batches again and again."""
        while True:
            yield from self.batches

    def commit(self) -> None:
        """Nothing to keep."""

    def rewind(self) -> None:
        """Nothing to take back."""


class Bench:
    """A trainer on random text, one step at a time."""

    def __init__(
        self, config: RunConfig, vocab_size: int, *, switches: bool, objective: Callable[..., Objective]
    ) -> None:
        self.model = build_model(config, vocab_size)
        extensions = build_extensions(config, self.model) if switches else Extensions()
        self.trainer = Trainer(
            self.model, config.engine, device=CPU, events=EventLog(), extensions=extensions, objective=objective
        )
        self.trainer.begin_task(10_000)
        self._steps = self.trainer.steps(RandomText(config, vocab_size))

    def train_step(self) -> None:
        """Train on one step."""
        next(self._steps)

    def end_task(self) -> None:
        """Let everything that acts from the second task on act from here."""
        view = BoundaryView(model=self.model, loader=None, task_index=0, device=CPU)
        for extension in self.trainer.extensions.boundaries:
            extension.boundary(view)


def product_rates(config: RunConfig, vocab_size: int) -> dict[str, float]:
    """Return GFLOP/s, forward and both gradients, of the largest product of a block and of the head's."""
    rows = config.data.batch_size * config.data.sequence_length
    dim, wide = config.model.hidden_dim, 2 * config.model.mamba_expand * config.model.hidden_dim
    sizes = {"block": (dim, wide), "head": (dim, vocab_size)}
    rates = {}
    for name, (inputs, outputs) in sizes.items():
        x, weight_OI = torch.randn(rows, inputs), torch.randn(outputs, inputs) / inputs**0.5
        runs = {}
        for form, dtype in (("reference", torch.float32), ("onednn", torch.float32), ("reference", torch.bfloat16)):
            leaves = [tensor.to(dtype).requires_grad_() for tensor in (x, weight_OI)]
            label = "bfloat16" if dtype == torch.bfloat16 else {"reference": "PyTorch", "onednn": "oneDNN"}[form]
            gradient = torch.ones(rows, outputs, dtype=dtype)
            runs[label] = lambda leaves=leaves, form=form, gradient=gradient: torch.autograd.grad(
                linear(*leaves, backend=form), leaves, gradient
            )
        interleaved_ms(runs, rounds=2)
        found = medians(interleaved_ms(runs, rounds=9))
        rates |= {f"{name}, {label}": 6e-6 * rows * inputs * outputs / found[label] for label in runs}
    return rates


def copy_rate() -> float:
    """Return GB/s of copying, read and written."""
    source = torch.ones(COPY_FLOATS)
    target = torch.empty_like(source)
    found = interleaved_ms({"copy": lambda: target.copy_(source)}, rounds=9)["copy"]
    return 8e-6 * COPY_FLOATS / min(found)


def floor_ms(config: RunConfig, model: LanguageModel, rates: dict[str, float], copied: float) -> dict[str, float]:
    """Return the least time of a forward and backward pass of one micro-batch, in float32.

    Products at their best measured rate; what scans, neurons and convolutions read and write (forward: inputs and
    output once; backward: inputs and gradients once) at the rate of copying.
    """
    tokens = config.data.batch_size * config.data.sequence_length
    macs = sum(cost.dense_macs_per_token + cost.spike_macs_per_token for cost in count_costs(model))
    best = max(rate for name, rate in rates.items() if "bfloat16" not in name)
    options = config.model
    expanded = options.mamba_expand * options.hidden_dim
    # Scan: x, delta, y, then x, delta, dy, dx, ddelta. Convolution: x, y, then x, dy, dx. Neurons: the same and v, z.
    numbers = options.num_layers * (8 * expanded + 5 * expanded + 2 * 10 * options.spiking_units)
    return {"products": 6e-6 * tokens * macs / best, "scans": 4e-6 * tokens * numbers / copied}


def share_of_engine(config: RunConfig, vocab_size: int, rounds: int) -> dict[str, float]:
    """Return what a step costs beside model forward, backward and the optimizer's arithmetic, in percent of it."""
    inside_s = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- any function
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                inside_s[0] += time.perf_counter() - start

        return run

    bench = Bench(config, vocab_size, switches=False, objective=timed(fused_next_token_objective))
    for optimizer in bench.trainer.optimizers:
        optimizer.step = timed(optimizer.step)
    backward = Tensor.backward
    Tensor.backward = timed(backward)
    try:
        bench.train_step()
        shares, steps_ms = [], []
        for _ in range(rounds):
            inside_s[0] = 0.0
            start = time.perf_counter()
            bench.train_step()
            step_s = time.perf_counter() - start
            shares.append(100 * (1 - inside_s[0] / step_s))
            steps_ms.append(1e3 * step_s)
    finally:
        Tensor.backward = backward
    return {"engine_percent": statistics.median(shares), "step_ms": statistics.median(steps_ms)}


def price_of_switches(config: RunConfig, vocab_size: int, rounds: int) -> dict[str, float]:
    """Return what STDP, meta-plasticity, replay and probes add to a step of a second task, in percent.

    A replayed sequence takes the place of a new one, so both sides train on as many tokens.
    """
    benches = {
        name: Bench(config, vocab_size, switches=name == "on", objective=fused_next_token_objective)
        for name in ("off", "on")
    }
    runs = {name: bench.train_step for name, bench in benches.items()}
    interleaved_ms(runs, rounds=2)
    for bench in benches.values():
        bench.end_task()
    interleaved_ms(runs, rounds=2)
    found = interleaved_ms(runs, rounds=rounds)
    # Neighbours in time are compared with each other, so that a slow minute of the machine meets both.
    ratios = [on / off for on, off in zip(found["on"], found["off"], strict=True)]
    return {"switches_percent": 100 * (statistics.median(ratios) - 1)}


def price_by_seam(config: RunConfig, vocab_size: int, rounds: int) -> dict[str, float]:
    """Return how many milliseconds of a step of a second task each extension takes at each seam."""
    bench = Bench(config, vocab_size, switches=True, objective=fused_next_token_objective)
    spent_ms: dict[str, float] = {}

    def watch(extension: Any, seam: str) -> None:  # noqa: ANN401 -- any extension
        act = getattr(extension, seam)

        def timed(*arguments: Any) -> Any:  # noqa: ANN401 -- any seam
            start = time.perf_counter()
            result = act(*arguments)
            name = f"{extension.name}, {seam.replace('_', ' ')}"
            spent_ms[name] = spent_ms.get(name, 0.0) + 1e3 * (time.perf_counter() - start)
            return result

        setattr(extension, seam, timed)

    extensions = bench.trainer.extensions
    bench.train_step()
    bench.end_task()
    bench.train_step()
    for extension in extensions.batch_mixers:
        watch(extension, "mix")
    for extension in extensions.update_gates:
        watch(extension, "gate")
    for extension in extensions.after_steps:
        watch(extension, "after_step")
    for _ in range(rounds):
        bench.train_step()
    return {name: spent / rounds for name, spent in sorted(spent_ms.items(), key=lambda item: -item[1])}


def price_of_save(config: RunConfig, vocab_size: int) -> dict[str, float]:
    """Return how long a save holds the training up, and that in percent of the steps between two saves."""
    bench = Bench(config, vocab_size, switches=True, objective=fused_next_token_objective)
    plain_ms, after_ms, copy_ms = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=2, events=EventLog())
        with BackgroundSaver(checkpoints) as saver:
            bench.train_step()
            for step in range(1, 4):
                plain_ms.append(_ms(bench.train_step))
                state = bench.trainer.state_dict()
                weights = state.pop("weights")
                copy_ms.append(
                    _ms(lambda state=state, weights=weights, step=step: saver.save_async(step, state, weights=weights))
                )
                slowed = 0.0
                while saver.poll():
                    slowed += _ms(bench.train_step) - statistics.median(plain_ms)
                after_ms.append(max(0.0, slowed))
    cost_ms = statistics.median(copy_ms) + statistics.median(after_ms)
    between_ms = config.engine.save_every * statistics.median(plain_ms)
    return {
        "save_copy_ms": statistics.median(copy_ms),
        "save_slows_steps_by_ms": statistics.median(after_ms),
        "save_percent": 100 * cost_ms / between_ms,
    }


def _ms(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def parts_of_a_micro_batch(config: RunConfig, vocab_size: int, rounds: int) -> dict[str, Any]:
    """Return the median time of forward and backward of one micro-batch, and its parts."""
    model = build_model(config, vocab_size)
    batch = RandomText(config, vocab_size).batches[0]

    def step() -> None:
        fused_next_token_objective(model, batch).loss_sum.backward()
        model.zero_grad(set_to_none=True)

    interleaved_ms({"step": step}, rounds=2)
    measured_ms = medians(interleaved_ms({"step": step}, rounds=rounds))["step"]
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        profiled_ms = _ms(step)
    by_part = dict.fromkeys(PARTS, 0.0)
    for row in profiler.key_averages():
        for part, beginnings in PARTS.items():
            if row.key.startswith(beginnings):
                by_part[part] += row.self_cpu_time_total / 1e3
    scale = measured_ms / profiled_ms
    parts_ms = {part: spent * scale for part, spent in by_part.items() if spent > 0}
    parts_ms["element by element, Python"] = measured_ms - sum(parts_ms.values())
    return {"measured_ms": measured_ms, "parts_ms": parts_ms}


def measure(preset: str, rounds: int) -> dict[str, Any]:
    """Return everything about one preset."""
    config, vocab_size = with_everything(preset), VOCABULARY[preset]
    model = build_model(config, vocab_size)
    rates, copied = product_rates(config, vocab_size), copy_rate()
    tokens = config.data.batch_size * config.data.sequence_length * config.engine.accumulation_steps
    engine = share_of_engine(config, vocab_size, rounds)
    return {
        "preset": preset,
        "vocab_size": vocab_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "product_gigaflops": rates,
        "copied_gigabytes_per_s": copied,
        "floor_ms": floor_ms(config, model, rates, copied),
        **parts_of_a_micro_batch(config, vocab_size, rounds),
        **engine,
        "tokens_per_s": 1e3 * tokens / engine["step_ms"],
        **price_of_switches(config, vocab_size, rounds),
        "seams_ms": price_by_seam(config, vocab_size, rounds),
        **price_of_save(config, vocab_size),
    }


def table(found: dict[str, Any]) -> str:
    """Return the result of one preset in Markdown."""
    floor = sum(found["floor_ms"].values())
    lines = [
        f"### Preset {found['preset']}, vocabulary {found['vocab_size']:,}, {found['parameters']:,} parameters",
        "",
        "| products, forward and both gradients | GFLOP/s |",
        "|---|---|",
        *(f"| {name} | {rate:.0f} |" for name, rate in found["product_gigaflops"].items()),
        "",
        f"Copying: {found['copied_gigabytes_per_s']:.1f} GB/s, read and written.",
        "",
        "| one micro-batch, forward and backward | ms | share |",
        "|---|---|---|",
        *(f"| floor: {name} | {value:.1f} | {value / floor:.0%} |" for name, value in found["floor_ms"].items()),
        f"| **floor** | {floor:.1f} | |",
        *(f"| {n} | {v:.1f} | {v / found['measured_ms']:.0%} |" for n, v in found["parts_ms"].items()),
        f"| **measured** | {found['measured_ms']:.1f} | floor / measured = {floor / found['measured_ms']:.0%} |",
        "",
        f"- {found['tokens_per_s']:,.0f} tokens/s of whole steps, optimizer included",
        f"- engine beside model and optimizer: {found['engine_percent']:.1f} % of a step",
        f"- STDP, meta-plasticity, replay bookkeeping and probes: {found['switches_percent']:+.1f} % on a step of a "
        "second task; in ms: " + "; ".join(f"{name} {value:.2f}" for name, value in found["seams_ms"].items()),
        f"- a save: {found['save_copy_ms']:.0f} ms of copying and {found['save_slows_steps_by_ms']:.0f} ms of slower "
        f"steps, {found['save_percent']:.2f} % of the time between two saves",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["tiny", "base"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--give-memory-back", action="store_true", help="let the system have freed memory at once")
    options = parser.parse_args(arguments)
    if not options.give_memory_back:
        keep_freed_memory()
    compile_kernels(lambda line: print(line, file=sys.stderr, flush=True))
    found = [measure(preset, options.rounds * (5 if preset == "tiny" else 1)) for preset in options.presets]
    print("\n\n".join(table(one) for one in found))
    if not options.give_memory_back and os.environ.get("GOMP_SPINCOUNT") == SHORT_SPIN:
        write_result("step", {**describe_machine(), "presets": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
