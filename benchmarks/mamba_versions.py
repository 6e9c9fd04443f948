"""Mamba version 1 beside version 2: bits per byte reached in equal time.

    python -m benchmarks.mamba_versions [--presets tiny small] [--minutes 4 8] [--seeds 0 1 2]

Each run gets the same minutes of one core, schedule included: how many steps fit is measured first. The text is the
five built-in domains, mixed. The two versions of a pair run side by side, each on its own core and counting its own
processor time, so that whatever else the machine does meets both. Prints Markdown and writes
benchmarks/results/mamba_versions.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import torch

from benchmarks.environments import ROOT
from benchmarks.measuring import describe_machine
from benchmarks.page import write_result
from mambrane.core.events import EventLog
from mambrane.core.memory import keep_freed_memory
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domains import Domain, load_domains
from mambrane.data.loader import SequenceLoader
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.measure.metrics import heldout_loss
from mambrane.ops.warm_up import compile_kernels
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig
from mambrane.settings.presets import PRESETS

CPU = torch.device("cpu")
STEPS_TO_TIME = 12


def config_of(preset: str, version: int, seed: int) -> RunConfig:
    """Return the preset with every part of the model on; one micro-batch a step, so that a short run has many."""
    config = PRESETS[preset]()
    parts = {"use_mamba": True, "mamba_version": version, "use_adaptive_gating": True, "use_cross_attention": True}
    return replace(
        config,
        run=replace(config.run, seed=seed),
        data=replace(config.data, max_heldout_bytes=16_384),
        model=replace(config.model, **parts),
        engine=replace(config.engine, accumulation_steps=1),
    )


def train(config: RunConfig, domains: list[Domain], vocab_size: int, num_steps: int, run_for: int) -> Trainer:
    """Train the first `run_for` steps of a schedule of `num_steps`."""
    trainer = Trainer(
        build_model(config, vocab_size),
        config.engine,
        device=CPU,
        events=EventLog(),
        objective=fused_next_token_objective,
    )
    loader = SequenceLoader(
        [domain.train for domain in domains],
        sequence_length=config.data.sequence_length,
        batch_size=config.data.batch_size,
        seed=config.run.seed,
        name="all domains",
    )
    trainer.begin_task(num_steps)
    for _ in count():
        for _ in trainer.steps(loader):
            if trainer.counters.closed == run_for:
                return trainer
    raise AssertionError("unreachable")


def measure(preset: str, version: int, seed: int, minutes: float) -> dict[str, Any]:
    """Train for so many minutes of processor time; returns the bits per byte of each domain and their mean."""
    torch.set_num_threads(1)
    keep_freed_memory()
    compile_kernels(lambda line: print(line, file=sys.stderr, flush=True))
    config = config_of(preset, version, seed)
    tokenizer, domains = load_domains(config.data, cache_folder(), EventLog(), None)
    train(config, domains, tokenizer.vocab_size, 1000, 2)
    started_s = time.process_time()
    train(config, domains, tokenizer.vocab_size, 1000, STEPS_TO_TIME)
    step_s = (time.process_time() - started_s) / STEPS_TO_TIME
    num_steps = round(60 * minutes / step_s)
    started_s = time.process_time()
    trainer = train(config, domains, tokenizer.vocab_size, num_steps, num_steps)
    spent_minutes = (time.process_time() - started_s) / 60
    bits = [
        heldout_loss(
            trainer.model,
            domain.heldout,
            sequence_length=config.data.sequence_length,
            batch_size=config.data.batch_size,
            device=CPU,
        ).bits_per_byte
        for domain in domains
    ]
    return {
        "preset": preset,
        "version": version,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "steps": num_steps,
        "tokens": trainer.counters.tokens,
        "minutes": spent_minutes,
        "bits_per_byte": statistics.mean(bits),
    }


def measure_pair(preset: str, seed: int, minutes: float) -> list[dict[str, Any]]:
    """Run both versions side by side, each in a process of its own."""
    processes = []
    for version in (1, 2):
        words = ["-m", "benchmarks.mamba_versions", "--measure", preset, str(version), str(seed), str(minutes)]
        processes.append(subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes), outputs
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def table(rows: list[dict[str, Any]]) -> str:
    """Return a row for each preset and version."""
    lines = ["| preset | version | parameters | tokens seen | bits per byte, mean (each seed) |", "|---" * 5 + "|"]
    for preset, version in sorted({(row["preset"], row["version"]) for row in rows}, reverse=True):
        group = [row for row in rows if (row["preset"], row["version"]) == (preset, version)]
        each = ", ".join(f"{row['bits_per_byte']:.3f}" for row in group)
        mean = statistics.mean(row["bits_per_byte"] for row in group)
        tokens = statistics.mean(row["tokens"] for row in group)
        minutes = statistics.mean(row["minutes"] for row in group)
        lines.append(
            f"| {preset}, {minutes:.1f} min of one core | {version} | {group[0]['parameters']:,} | {tokens:,.0f} | "
            f"{mean:.3f} ({each}) |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["tiny", "small"])
    parser.add_argument("--minutes", nargs="+", type=float, default=[4, 8], help="for each preset")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        preset, version, seed, minutes = options.measure
        print(json.dumps(measure(preset, int(version), int(seed), float(minutes))))
        return 0
    rows = []
    for preset, minutes in zip(options.presets, options.minutes, strict=True):
        for seed in options.seeds:
            rows += measure_pair(preset, seed, minutes)
            print(rows[-2], rows[-1], sep="\n", file=sys.stderr, flush=True)
    print(table(rows))
    write_result("mamba_versions", {**describe_machine(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
