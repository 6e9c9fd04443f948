"""Several processes: resumed with another number of them, and one of them killed. Accelerate, Fabric and Mambrane.

    python -m benchmarks.engine_peers.processes [--engines accelerate accelerate:seedable fabric mambrane] [--kills 5]

Two gloo processes train the toy (`processes_job.py`) for three of eight steps, and one or three go on; all take six
rows a step. Right is who ends with the weights of two processes that were never stopped, within 1e-9. Then, in several
runs, rank 1 ends itself in the fifth step under `torchrun --max-restarts 1`. docs/engine-peers.md shows what was found.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.engine_peers.engines import REQUIREMENTS
from benchmarks.environments import ROOT, environment_python

ENGINES = ("accelerate", "accelerate:seedable", "fabric", "mambrane")
NEAR = 1e-9
LONGEST_S = 120
"""A run takes 10 to 30 seconds."""


def train(engine: str, num_processes: int, folder: Path, *, stop_after: int = 0, die_in: int = 0) -> str:
    """Run, or go on; returns the last line of what a failed run said, or nothing."""
    required = REQUIREMENTS[engine.partition(":")[0]]
    python = str(environment_python(engine.partition(":")[0], *required)) if required else sys.executable
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    words = ["-m", "benchmarks.engine_peers.processes_job", engine, str(folder), str(stop_after), str(die_in)]
    folder.mkdir(exist_ok=True)
    try:
        ended = subprocess.run(
            [python, *torchrun, "--max-restarts", "1" if die_in else "0", *words],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        return f"not at its end after {LONGEST_S} s"
    if ended.returncode == 0:
        return ""
    said = [line for line in ended.stderr.splitlines() if "Error" in line and "ChildFailedError" not in line]
    return said[0].strip() if said else f"status {ended.returncode}"


def off(folder: Path, wanted: list[torch.Tensor]) -> float:
    """Return how far the weights at the end of a run are off."""
    found = torch.load(folder / "weights.pt", weights_only=True)
    return max(float((one - other).abs().max()) for one, other in zip(found, wanted, strict=True))


def examine(engine: str, folder: Path, num_kills: int) -> None:
    """Print what an engine does."""
    problem = train(engine, 2, folder / "whole")
    if problem:
        print(f"{engine}: {problem}", flush=True)
        return
    wanted = torch.load(folder / "whole" / "weights.pt", weights_only=True)
    killed = [(f"rank 1 killed, run {number + 1}", 2, 5) for number in range(num_kills)]
    for name, size, die_in in (("resumed by 1", 1, 0), ("resumed by 3", 3, 0), *killed):
        run = folder / name.replace(" ", "-")
        problem = "" if die_in else train(engine, 2, run, stop_after=3)
        problem = problem or train(engine, size, run, die_in=die_in)
        far = 0.0 if problem else off(run, wanted)
        verdict = "right" if not problem and far <= NEAR else "wrong"
        print(f"{engine}, {name}: {problem or f'{verdict}, weights off by {far:.0e}'}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Examine the engines, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for engine in options.engines:
            place = Path(folder) / engine.replace(":", "-")
            place.mkdir()
            examine(engine, place, options.kills)


if __name__ == "__main__":
    main()
