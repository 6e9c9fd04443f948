"""The main job with one, two and three processes: how far the losses of equal steps are apart.

    python -m benchmarks.several_processes [--processes 1 2 3] [--steps 60]

Every method of the main job is on; the text is built in, and an epoch is so short that the steps cross into the second
task. Sums round otherwise with another number of processes, and a membrane within rounding of its threshold may then
fire in one run and not in the other: printed are the largest differences before and after the step in which that shows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SHOWS_NATS = 1e-5
"""A difference that no rounding of a few steps explains."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with each number of processes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args(arguments)
    losses = {number: train(number, options.steps) for number in options.processes}
    first, *others = options.processes
    print(f"| processes | steps equal to {first} process within {SHOWS_NATS:g} | until then | at most |\n|{'---|' * 4}")
    for number in others:
        differences = [abs(one - other) for one, other in zip(losses[first], losses[number], strict=True)]
        equal = next((n for n, each in enumerate(differences) if each > SHOWS_NATS), len(differences))
        print(
            f"| {number} | {equal} | {max(differences[:equal], default=0.0):.1e} | {max(differences):.1e} |", flush=True
        )


def train(num_processes: int, num_steps: int) -> list[float]:
    """Return the loss of each step of a fresh run, in nats per token."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    settings = ["--preset", "tiny", "--tokenizer", "bytes", "--epoch-tokens", "4096", "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        words = ["-m", "mambrane", "train", *settings, "--max-steps", str(num_steps), "--output-dir", str(output)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *torchrun, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
        events = map(json.loads, (output / "events.jsonl").read_text(encoding="utf-8").splitlines())
        return [event["loss"] for event in events if event["event"] == "step"]


if __name__ == "__main__":
    main()
