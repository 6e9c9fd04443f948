"""The model of benchmarks/scale.py against gloo processes on this machine: what it predicts, and what they take.

Measured apart: the sum of gradients by size with two processes, to which a time for each call and each byte is fitted,
and a step of one process. From these the steps of two and four processes are predicted, and then measured. The least of
several turns counts, as other programs only add to it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.environments import ROOT
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.engine.config import EngineConfig
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.ranks import Ranks, open_ranks
from mambrane.engine.trainer import Trainer
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

SIZES = (1_000, 10_000, 100_000, 1_000_000)
"""Float32 numbers that are summed."""
ROWS, TOKENS, VOCAB_SIZE, NUM_STEPS = 16, 64, 256, 12
CPU = torch.device("cpu")


class Steps:
    """A loader of the same micro-batch again and again."""

    def __init__(self) -> None:
        self.epoch = 0
        tokens_BT = torch.randint(VOCAB_SIZE, (ROWS, TOKENS + 1), generator=make_generator(0, "text"))
        self.batch = MicroBatch(
            tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous(), torch.zeros(ROWS, TOKENS, dtype=torch.bool)
        )

    def epoch_batches(self) -> list[MicroBatch]:
        """Return the epoch."""
        return [self.batch] * NUM_STEPS

    def commit(self) -> None:
        """Nothing is resumed."""

    def rewind(self) -> None:
        """Nothing is resumed."""


def step_seconds(ranks: Ranks) -> tuple[float, int]:
    """Return the shortest step, and the parameters of the model."""
    config = ModelConfig(hidden_dim=128, num_layers=2, spiking_units=32, liquid_units=32)
    model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
    trainer = Trainer(
        model,
        EngineConfig(accumulation_steps=1),
        device=CPU,
        events=EventLog(),
        objective=fused_next_token_objective,
        ranks=ranks,
    )
    trainer.begin_task(NUM_STEPS)
    shortest, started_s = float("inf"), time.perf_counter()
    for _ in trainer.steps(Steps()):
        now_s = time.perf_counter()
        shortest, started_s = min(shortest, now_s - started_s), now_s
    return shortest, sum(parameter.numel() for parameter in model.parameters())


def sum_seconds(ranks: Ranks) -> dict[int, float]:
    """Return the shortest sum of each size."""
    found = {}
    for size in SIZES:
        numbers, times = torch.zeros(size), []
        for _ in range(8):
            ranks.all_true(True)
            started_s = time.perf_counter()
            ranks.sum_(numbers)
            times.append(time.perf_counter() - started_s)
        found[size] = min(times)
    return found


def measure(num_processes: int) -> dict[str, float | dict[str, float]]:
    """Return what the first of so many processes has measured."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        words = [sys.executable, *torchrun, "-m", "benchmarks.scale_here", str(file)]
        subprocess.run(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def compare() -> None:
    """Print what was measured, what follows from it, and what two and four processes take."""
    alone, two, four = measure(1), measure(2), measure(4)
    sums = {size: two["sums"][str(size)] for size in SIZES}
    small, large = SIZES[0], SIZES[-1]
    number_s = (sums[large] - sums[small]) / (large - small)
    call_s = sums[small] - small * number_s
    print("| numbers summed | " + " | ".join(f"{size:,}" for size in SIZES) + " |\n" + "|---" * 5 + "|")
    for name, found in (("2 processes, ms", two), ("4 processes, ms", four)):
        print(f"| {name} | " + " | ".join(f"{1e3 * found['sums'][str(size)]:.2f}" for size in SIZES) + " |")
    cores = len(os.sched_getaffinity(0))
    print(f"\nfitted: {1e3 * call_s:.2f} ms a call and {1e9 * number_s:.2f} ns a number; {cores} cores\n")
    print("| processes | predicted step, ms | measured, ms |\n|---|---|---|")
    print(f"| 1 | | {1e3 * alone['step']:.1f} |")
    for number, found in ((2, two), (4, four)):
        # Each process sends twice its part of what it does not add itself; more processes than cores take turns.
        crowd = max(1.0, number / cores)
        traffic = 2 * (number - 1) / number * crowd
        step = alone["step"] / number * crowd + call_s + alone["parameters"] * number_s * traffic
        print(f"| {number} | {1e3 * step:.1f} | {1e3 * found['step']:.1f} |")


def main() -> None:
    """Measure as one of torchrun's processes."""
    torch.set_num_threads(1)
    with open_ranks(CPU, timeout_s=120.0) as ranks:
        step, parameters = step_seconds(ranks)
        sums = sum_seconds(ranks) if ranks.size > 1 else {}
        if ranks.is_first:
            found = {"step": step, "parameters": parameters, "sums": sums}
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
