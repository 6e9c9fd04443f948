"""The main job with one, two and three processes: how far the losses of equal steps are apart.

    python -m benchmarks.several_processes [--processes 1 2 3] [--steps 60]
    python -m benchmarks.several_processes --speed [strong weak base] [--turns 3] [--steps 20]

Every method of the main job is on; the text is built in, and an epoch is so short that the steps cross into the second
task. Sums round otherwise with another number of processes, and a membrane within rounding of its threshold may then
fire in one run and not in the other: printed are the largest differences before and after the step in which that shows.

With --speed: tokens per second of two processes of one thread, of one process of two threads, and of two runs that know
nothing of each other, each of one thread, which is what the machine can give. The ways take turns, and the fastest step
of each counts, as other programs only slow a step down. It wants two cores with nothing else to do.

    strong    the tiny preset: 8 rows, of which two processes have 4 each
    weak      the tiny preset with 8 rows for each process and for each thread
    base      the base preset: 4 micro-batches of 8 rows in a step, large products
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

SHOWS_NATS = 1e-5
"""A difference that no rounding of a few steps explains."""


class Measure(NamedTuple):
    """What is measured of two processes."""

    settings: str
    """Words of the command."""
    rows_of_one: int
    """--batch-size of one process of one thread."""
    rows_of_two: int
    """That of two processes, and of one of two threads."""
    most_steps: int


MEASURES = {
    "strong": Measure("--preset tiny --epoch-tokens 4096", 8, 8, 1000),
    "weak": Measure("--preset tiny --epoch-tokens 8192", 8, 16, 1000),
    "base": Measure("--preset base --epoch-tokens 16384 --max-heldout-bytes 2048", 8, 8, 2),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with each number of processes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--speed", nargs="*", choices=MEASURES, help="compare tokens per second in place of losses")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.speed is not None:
        print("| measure | one thread, tokens/s | two threads | two processes | two runs at once | ", end="")
        print("of twice one | of two runs | over two threads |\n|" + "---|" * 8)
        for name in options.speed or MEASURES:
            compare_speed(name, options.turns, options.steps)
        return
    settings = MEASURES["strong"].settings.split()
    runs = {number: Run(number, options.steps, settings=settings).steps() for number in options.processes}
    losses = {number: [step["loss"] for step in steps] for number, steps in runs.items()}
    first, *others = options.processes
    print(f"| processes | steps equal to {first} process within {SHOWS_NATS:g} | until then | at most |\n|{'---|' * 4}")
    for number in others:
        differences = [abs(one - other) for one, other in zip(losses[first], losses[number], strict=True)]
        equal = next((n for n, each in enumerate(differences) if each > SHOWS_NATS), len(differences))
        print(
            f"| {number} | {equal} | {max(differences[:equal], default=0.0):.1e} | {max(differences):.1e} |", flush=True
        )


def compare_speed(name: str, num_turns: int, num_steps: int) -> None:
    """Print the fastest step of each way to use two cores."""
    measure = MEASURES[name]
    num_steps = min(num_steps, measure.most_steps)

    def run(num_processes: int, num_threads: int, rows: int) -> Run:
        words = [*measure.settings.split(), "--batch-size", str(rows)]
        return Run(num_processes, num_steps, num_threads, words)

    one, threads, processes, at_once = [], [], [], []
    for _ in range(num_turns):
        one += speeds(run(1, 1, measure.rows_of_one).steps())
        threads += speeds(run(1, 2, measure.rows_of_two).steps())
        processes += speeds(run(2, 1, measure.rows_of_two).steps())
        pair = [run(1, 1, measure.rows_of_one) for _ in range(2)]
        both = [each.steps() for each in pair]
        begin_s, end_s = max(steps[0]["time_s"] for steps in both), min(steps[-1]["time_s"] for steps in both)
        of_both = (
            [speed for step in steps if begin_s <= step["time_s"] <= end_s for speed in speeds([step])]
            for steps in both
        )
        at_once.append(sum(max(of_run, default=0.0) for of_run in of_both))
    best = [max(way) for way in (one, threads, processes, at_once)]
    shares = f"{best[2] / (2 * best[0]):.0%} | {best[2] / best[3]:.0%} | {best[2] / best[1]:.2f} x"
    print(f"| {name} | {' | '.join(f'{speed:,.0f}' for speed in best)} | {shares} |", flush=True)


def speeds(steps: Sequence[dict[str, Any]]) -> list[float]:
    """Return tokens per second of each step."""
    return [step["tokens_per_s"] for step in steps]


class Run:
    """A fresh run that has been started; its folder goes with it."""

    def __init__(self, num_processes: int, num_steps: int, num_threads: int = 1, settings: Sequence[str] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._output = Path(self._folder.name) / "run"
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
        words = ["-m", "mambrane", "train", "--tokenizer", "bytes", "--device", "cpu", *settings]
        words += ["--max-steps", str(num_steps), "--output-dir", str(self._output)]
        environment = os.environ | {"OMP_NUM_THREADS": str(num_threads)}
        self._process = subprocess.Popen(
            [sys.executable, *torchrun, *words], env=environment, stdout=subprocess.DEVNULL
        )

    def steps(self) -> list[dict[str, Any]]:
        """Wait for the end of the run; returns the events of its steps."""
        assert self._process.wait() == 0, "the run failed"
        events = map(json.loads, (self._output / "events.jsonl").read_text(encoding="utf-8").splitlines())
        steps = [event for event in events if event["event"] == "step"]
        self._folder.cleanup()
        return steps


if __name__ == "__main__":
    main()
