"""The main job with one, two and three processes: how far the losses of equal steps are apart.

    python -m benchmarks.several_processes [--processes 1 2 3] [--steps 60]
    python -m benchmarks.several_processes --speed [--turns 3] [--steps 20]

Every method of the main job is on; the text is built in, and an epoch is so short that the steps cross into the second
task. Sums round otherwise with another number of processes, and a membrane within rounding of its threshold may then
fire in one run and not in the other: printed are the largest differences before and after the step in which that shows.

With --speed: tokens per second of two processes of one thread against one process of one thread and of two, in turns;
the fastest step of each counts, as other programs only slow a step down. It wants two cores with nothing else to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWS_NATS = 1e-5
"""A difference that no rounding of a few steps explains."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with each number of processes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--speed", action="store_true", help="compare tokens per second in place of losses")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.speed:
        compare_speed(options.turns, options.steps)
        return
    losses = {number: [step["loss"] for step in train(number, options.steps)] for number in options.processes}
    first, *others = options.processes
    print(f"| processes | steps equal to {first} process within {SHOWS_NATS:g} | until then | at most |\n|{'---|' * 4}")
    for number in others:
        differences = [abs(one - other) for one, other in zip(losses[first], losses[number], strict=True)]
        equal = next((n for n, each in enumerate(differences) if each > SHOWS_NATS), len(differences))
        print(
            f"| {number} | {equal} | {max(differences[:equal], default=0.0):.1e} | {max(differences):.1e} |", flush=True
        )


def compare_speed(num_turns: int, num_steps: int) -> None:
    """Print the fastest step of each way to use two cores."""
    ways = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}
    fastest = dict.fromkeys(ways, 0.0)
    for _ in range(num_turns):
        for name, (num_processes, num_threads) in ways.items():
            steps = train(num_processes, num_steps, num_threads)
            fastest[name] = max(fastest[name], *(step["tokens_per_s"] for step in steps))
    one, threads, processes = fastest.values()
    print("| way | tokens/s |\n|---|---|")
    for name, speed in fastest.items():
        print(f"| {name} | {speed:,.0f} |")
    print(f"\n{processes / (2 * one):.0%} of twice one process of one thread, {processes / threads:.2f} x two threads")


def train(num_processes: int, num_steps: int, num_threads: int = 1) -> list[dict[str, Any]]:
    """Return the events of the steps of a fresh run."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    settings = ["--preset", "tiny", "--tokenizer", "bytes", "--epoch-tokens", "4096", "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        words = ["-m", "mambrane", "train", *settings, "--max-steps", str(num_steps), "--output-dir", str(output)]
        environment = os.environ | {"OMP_NUM_THREADS": str(num_threads)}
        subprocess.run([sys.executable, *torchrun, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
        events = map(json.loads, (output / "events.jsonl").read_text(encoding="utf-8").splitlines())
        return [event for event in events if event["event"] == "step"]


if __name__ == "__main__":
    main()
