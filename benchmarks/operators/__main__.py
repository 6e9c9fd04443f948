"""Compare every operation with the best known outside implementations, each in an environment of its own.

    python -m benchmarks.operators [--only NAME ...] [--threads 2]

An environment holds Mambrane and the peer, so one process runs both on the same inputs: first forward and backward
once, for parity (nothing is timed where it fails) and for memory, then in turns, for time. A second process does the
same as in training: both sides keep the memory that they free, and idle threads sleep soon (core/memory.py,
app/openmp.py). A full run writes benchmarks/results/operators.json and docs/benchmarks.md.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import torch

from benchmarks.environments import ROOT, environment_python
from benchmarks.measuring import describe_machine, machine_rates
from benchmarks.operators.catalogue import CATALOGUE, REFERENCE_GIGAFLOPS, Entry, requirement
from benchmarks.operators.contest import ParityError, hold
from benchmarks.page import operators_table, save_result
from mambrane.app.openmp import SHORT_SPIN
from mambrane.core.memory import keep_freed_memory
from mambrane.ops.warm_up import compile_kernels

ENTRIES = {entry.name: entry for entry in CATALOGUE}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen comparisons; return 1 if one has no parity."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=ENTRIES, default=list(ENTRIES), help=f"{[*ENTRIES]}"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--as-in-training", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.measure:
        if options.as_in_training:
            keep_freed_memory()
        print(json.dumps(measure(ENTRIES[options.measure])))
        return 0

    rows = [measure_in_its_environment(ENTRIES[name], options.threads) for name in options.only]
    result = {**describe_machine(), **machine_rates(), "rows": rows}
    scale = REFERENCE_GIGAFLOPS / result["float32_gigaflops"]
    result["rows"] = [with_targets(row, ENTRIES[row["name"]], scale) for row in rows]
    print(operators_table(result))
    if options.only == list(ENTRIES):
        save_result("operators", result)
    return int(any("error" in row for row in rows))


def measure(entry: Entry) -> dict[str, Any]:
    """Hold one contest in this process, whose environment has the peer."""
    row = {"name": entry.name, "peer": f"{entry.peer} {metadata.version(entry.peer)}", "torch": torch.__version__}
    compile_kernels(lambda line: print(line, file=sys.stderr, flush=True))
    try:
        return row | hold(entry.make(), rounds=entry.rounds)
    except ParityError as error:
        return row | {"error": str(error)}


def measure_in_its_environment(entry: Entry, threads: int) -> dict[str, Any]:
    """Hold one contest in fresh processes of the peer's environment: as Python comes, and as in training."""
    python = environment_python(entry.peer, requirement(entry.peer))
    print(f"{entry.name} ...", file=sys.stderr, flush=True)
    words = [python, "-m", "benchmarks.operators", "--measure", entry.name, "--threads", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    row = _result_of(words, environment)
    return row | {
        "as_in_training": _result_of([*words, "--as-in-training"], environment | {"GOMP_SPINCOUNT": SHORT_SPIN})
    }


def _result_of(words: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def with_targets(row: dict[str, Any], entry: Entry, scale: float) -> dict[str, Any]:
    """Add what was promised, and whether it was kept; milliseconds scaled to the rate of this machine."""
    if "error" in row:
        return row
    target_ms = None if entry.target_ms is None else entry.target_ms * scale
    is_met = (entry.target_ratio is None or row["ratio"] >= entry.target_ratio) and (
        target_ms is None or row["ours_ms"] <= target_ms
    )
    return row | {"target_ratio": entry.target_ratio, "target_ms": target_ms, "is_met": is_met}


if __name__ == "__main__":
    sys.exit(main())
