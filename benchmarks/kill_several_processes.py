"""Kill a run of two processes at random times, resume it with one or three, and compare with a run never killed.

    python -m benchmarks.kill_several_processes [--runs 20] [--seed 0]

A small job with every method on and two tasks. Each run is killed (SIGKILL to rank 0, to rank 1, or to all processes
at once, as a power cut does) at a time drawn uniformly from the duration of the uninterrupted run of two, then started
again with one process or three, which take it to its end. It must have the same steps, in all and of each task, the
same memory and generator of replay, and a matrix within MATRIX_NEAR.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mambrane.core.events import EventLog
from mambrane.storage.checkpoint import Checkpoints
from tests.contract.main_job import SMALL_JOB, flags_of

MATRIX_NEAR = 1e-3
"""Bits per byte."""
WORDS = flags_of(SMALL_JOB | {"data": "builtin", "tokenizer": "bytes", "epoch-tokens": 4096, "replay-buffer-size": 64})


class Ended(NamedTuple):
    """What a run ends with."""

    steps: dict[str, Any]
    """Counters, and the steps of each task."""
    replay: dict[str, Any]
    """Its memory, counts and generator."""
    matrix: list[list[float | None]]


def start(num_processes: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a run, or go on with it."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    words = ["-m", "mambrane", "train", *WORDS, "--output-dir", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(folder.with_suffix(".log"), "ab") as log:
        return subprocess.Popen([sys.executable, *torchrun, *words], env=environment, stdout=log, stderr=log)


def children(process_id: int) -> list[int]:
    """Return the processes that a process has started, oldest first (Linux)."""
    try:
        words = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [int(word) for word in words]


def kill(agent: subprocess.Popen[bytes], who: str) -> None:
    """Kill one rank, or the agent with all of them; where no rank has started yet, the agent."""
    ranks = children(agent.pid)
    if who != "all" and len(ranks) == 2:
        os.kill(ranks[int(who)], signal.SIGKILL)
    else:
        # Stopped first, so that it starts nobody meanwhile.
        agent.send_signal(signal.SIGSTOP)
        for rank in children(agent.pid):
            os.kill(rank, signal.SIGKILL)
        agent.kill()
    agent.wait(timeout=120)


def ended(folder: Path) -> Ended:
    """Read how a run has ended."""
    newest = Checkpoints(folder / "checkpoints", keep=3, events=EventLog()).load_newest()
    assert newest is not None, f"{folder} has no checkpoint"
    parts: dict[str, Any] = dict(newest.parts)
    steps = parts["trainer"]["counters"] | {"of tasks": parts["runner"]["steps_taken"]}
    # Losses round with the number of processes; an aborted step is one that comes again.
    of_steps = {name: value for name, value in steps.items() if name not in ("aborted", "closed", "loss_spikes")}
    replay = parts["extensions"]["replay"]
    replay["buffer"].pop("losses")
    matrix = json.loads((folder / "matrix.json").read_text(encoding="utf-8"))["bits_per_byte"]
    return Ended(of_steps, replay, matrix)


def is_equal(one: Any, other: Any) -> bool:  # noqa: ANN401 -- trees of numbers and tensors
    """Return whether two trees are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[name], other[name]) for name in one)
    return one == other


def farthest(one: list[list[float | None]], other: list[list[float | None]]) -> float:
    """Return the largest difference of two matrices."""
    pairs = ((a, b) for row, others in zip(one, other, strict=True) for a, b in zip(row, others, strict=True))
    return max(abs(a - b) if a is not None and b is not None else 0.0 for a, b in pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a run, and how many ended as the uninterrupted one; 0 if all did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    num_right = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        started_s = time.perf_counter()
        assert start(2, whole).wait() == 0, whole.with_suffix(".log").read_text(encoding="utf-8")
        duration_s = time.perf_counter() - started_s
        wanted = ended(whole)
        print(f"whole run: {wanted.steps['applied']} steps in {duration_s:.0f} s", flush=True)
        for number in range(options.runs):
            run, who, size = Path(folder) / f"run-{number}", draw.choice(["0", "1", "all"]), (1, 3)[number % 2]
            agent = start(2, run)
            at_s = draw.uniform(0.0, duration_s)
            try:
                agent.wait(timeout=at_s)
            except subprocess.TimeoutExpired:
                kill(agent, who)
            status = start(size, run).wait()
            if status:
                print(run.with_suffix(".log").read_text(encoding="utf-8")[-4000:], flush=True)
                continue
            found = ended(run)
            checks = {
                "steps": found.steps == wanted.steps,
                "replay": is_equal(found.replay, wanted.replay),
                "matrix": farthest(found.matrix, wanted.matrix) <= MATRIX_NEAR,
            }
            num_right += all(checks.values())
            words = ", ".join(f"{name} {'equal' if right else 'DIFFERENT'}" for name, right in checks.items())
            apart = farthest(found.matrix, wanted.matrix)
            whom = "all" if who == "all" else f"rank {who}"
            print(
                f"{number}: {whom} killed at {at_s:.1f} s, resumed by {size}: {words} ({apart:.1e} bits per byte)",
                flush=True,
            )
    print(f"{num_right} of {options.runs} ended as the run that was never killed")
    return 0 if num_right == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
