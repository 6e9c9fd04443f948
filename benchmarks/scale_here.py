"""The model of benchmarks/scale.py against gloo processes on this machine: what it predicts, and what they take.

    step of R     crowd x (fixed + rows / R x time of a row) + sum of P numbers + a question of all
    crowd         R / cores where there are more processes than cores, else 1

Measured apart: steps of one process with all rows and with half of them, which tell what each process repeats (fixed:
the calls of every operation, the update) from what is divided; and, with each number of processes, sums of several
sizes and the question whether to stop. From these the steps of two and four processes are predicted, and then measured.
The least of several turns counts, as other programs only add to it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.environments import ROOT
from mambrane.core.events import EventLog
from mambrane.core.memory import keep_freed_memory
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.engine.config import EngineConfig
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.ranks import Ranks, open_ranks
from mambrane.engine.trainer import Trainer
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

SIZES = (1_000, 10_000, 100_000, 1_000_000, 2_000_000)
"""Float32 numbers that are summed."""
ROWS, TOKENS, VOCAB_SIZE, NUM_STEPS = 16, 128, 256, 12
CPU = torch.device("cpu")


class Steps:
    """A loader of the same micro-batch again and again."""

    def __init__(self, rows: int) -> None:
        self.epoch = 0
        tokens_BT = torch.randint(VOCAB_SIZE, (rows, TOKENS + 1), generator=make_generator(0, "text"))
        self.batch = MicroBatch(
            tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous(), torch.zeros(rows, TOKENS, dtype=torch.bool)
        )

    def epoch_batches(self) -> list[MicroBatch]:
        """Return the epoch."""
        return [self.batch] * NUM_STEPS

    def commit(self) -> None:
        """Nothing is resumed."""

    def rewind(self) -> None:
        """Nothing is resumed."""


def step_seconds(ranks: Ranks, rows: int = ROWS) -> tuple[float, int]:
    """Return the shortest step, and the parameters of the model."""
    config = ModelConfig(hidden_dim=256, num_layers=2, spiking_units=128, liquid_units=128)
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
    for _ in trainer.steps(Steps(rows)):
        now_s = time.perf_counter()
        shortest, started_s = min(shortest, now_s - started_s), now_s
    return shortest, sum(parameter.numel() for parameter in model.parameters())


def sum_seconds(ranks: Ranks) -> dict[int, float]:
    """Return the shortest sum of each size, and, as the sum of no number, the shortest question."""
    found = {}
    for size in (0, *SIZES):
        numbers, times = torch.zeros(size), []
        for _ in range(12):
            ranks.all_true(True)
            started_s = time.perf_counter()
            if size:
                ranks.sum_(numbers)
            else:
                ranks.all_true(True)
            times.append(time.perf_counter() - started_s)
        found[size] = min(times)
    return found


def measure(num_processes: int) -> dict[str, Any]:
    """Return what the first of so many processes has measured."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        words = [sys.executable, *torchrun, "-m", "benchmarks.scale_here", str(file)]
        subprocess.run(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def predicted_seconds(
    num_processes: int, cores: int, fixed: float, divided: float, parameters: int, sums: dict[int, float]
) -> float:
    """Return what a step should take.

    Args:
        num_processes: that share the rows.
        cores: on which they run.
        fixed: what one process alone repeats in every step, in seconds.
        divided: what all rows take beside that.
        parameters: numbers that are summed.
        sums: seconds by how many numbers are summed; 0 numbers are a question.
    """
    crowd = max(1.0, num_processes / cores)
    below = max(size for size in SIZES if size <= parameters)
    # More processes than cores take turns in a sum too, which was measured with as many.
    summed = sums[below] * parameters / below
    return crowd * (fixed + divided / num_processes) + summed + sums[0]


def compare() -> None:
    """Print what was measured, what follows from it, and what two and four processes take."""
    found = {number: measure(number) for number in (1, 2, 4)}
    cores = len(os.sched_getaffinity(0))
    print("| summed | a question | " + " | ".join(f"{size:,}" for size in SIZES) + " |\n" + "|---" * 7 + "|")
    for number in (2, 4):
        of_sizes = " | ".join(f"{1e3 * found[number]['sums'][str(size)]:.2f}" for size in (0, *SIZES))
        print(f"| {number} processes, ms | {of_sizes} |")
    alone = found[1]
    divided = 2 * (alone["step"] - alone["half step"])
    fixed = alone["step"] - divided
    print(
        f"\n{cores} cores; {alone['parameters']:,} parameters; one process: {1e3 * fixed:.1f} ms each step and "
        f"{1e3 * divided:.1f} ms for {ROWS} rows of {TOKENS} tokens\n"
    )
    print("| processes | predicted step, ms | measured, ms |\n|---|---|---|")
    print(f"| 1 | | {1e3 * alone['step']:.1f} |")
    for number in (2, 4):
        sums = {int(size): seconds for size, seconds in found[number]["sums"].items()}
        step = predicted_seconds(number, cores, fixed, divided, alone["parameters"], sums)
        print(f"| {number} | {1e3 * step:.1f} | {1e3 * found[number]['step']:.1f} |")


def main() -> None:
    """Measure as one of torchrun's processes."""
    torch.set_num_threads(1)
    keep_freed_memory()
    with open_ranks(CPU, timeout_s=120.0) as ranks:
        step, parameters = step_seconds(ranks)
        found: dict[str, Any] = {"step": step, "parameters": parameters}
        if ranks.size > 1:
            found["sums"] = sum_seconds(ranks)
        else:
            found["half step"], _ = step_seconds(ranks, ROWS // 2)
        if ranks.is_first:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
