"""Kill the main job at random times, resume it until it is done, and compare its weights with an uninterrupted run.

    python benchmarks/kill_and_resume.py [--runs 40] [--seed 0]

The job is the one of tests/contract/main_job.py: five small domains, every switch on, four task boundaries. Each run is
killed (SIGKILL) at a time drawn uniformly between its start and the duration of the uninterrupted run, then run again,
and killed again with probability one half, until it ends by itself.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.contract.main_job import environment, newest_weights, train, train_words, write_domains


def killed_and_resumed(data: Path, output: Path, duration_s: float, draw: random.Random) -> int:
    """Run with at least one kill, and resume to the end; returns how often the run was killed."""
    num_kills = 0
    while num_kills == 0 or draw.random() < 0.5:
        process = subprocess.Popen(
            train_words(data, output),
            env=environment(data.parent / "cache"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=draw.uniform(0.0, duration_s))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            num_kills += 1
            continue
        if num_kills:
            return num_kills
        # It ended before its time came: the machine has become faster. Once more, from nothing.
        shutil.rmtree(output)
        duration_s *= 0.8
    result = train(data, output)
    assert result.returncode == 0, result.stderr
    return num_kills


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a run and how many ended with the weights of the uninterrupted one; 0 if all did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = write_domains(Path(folder) / "texts")
        train(data, Path(folder) / "warm-up")
        started_s = time.perf_counter()
        assert train(data, Path(folder) / "straight").returncode == 0
        duration_s = time.perf_counter() - started_s
        wanted = newest_weights(Path(folder) / "straight")
        num_equal = 0
        for index in range(options.runs):
            output = Path(folder) / f"run{index}"
            num_kills = killed_and_resumed(data, output, duration_s, draw)
            is_equal = newest_weights(output) == wanted
            num_equal += is_equal
            print(f"run {index}: killed {num_kills} times, weights {'equal' if is_equal else 'DIFFERENT'}", flush=True)
    print(f"{num_equal} of {options.runs} ended with the weights of the uninterrupted run")
    return 0 if num_equal == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
