"""Runs jobs with one engine, each in a process of its own: imports the engine once, then forks.

    python -m benchmarks.engine_peers.worker mambrane|transformers|accelerate|fabric

Read from the input, one JSON a line: {"job": ..., "notes": FILE, "log": FILE}. Printed, one JSON a line: first the
versions of the engine's packages, then the exit status of each job.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.engine_peers.jobs import Job, Notes

JOB_TIMEOUT_S = 120


def run_job(engine: ModuleType, request: dict[str, Any]) -> int:
    """Run a job in a fork; returns its exit status."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(JOB_TIMEOUT_S)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        notes = Notes(job=Job(**request["job"]))
        tempfile.tempdir = notes.job.temporary_folder
        try:
            engine.train(notes.job, notes)
        except Exception as error:
            traceback.print_exc()
            notes.error = f"{type(error).__name__}: {error}"
        sys.stdout.flush()
        sys.stderr.flush()
        Path(request["notes"]).write_text(json.dumps(notes.as_json()))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def import_what_torch_imports_late() -> None:
    """Take a step in this process, so that the forks need not import what it needs, each for itself."""
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()


def main() -> None:
    """Answer requests until the input ends."""
    torch.set_num_threads(1)
    import_what_torch_imports_late()
    engine = importlib.import_module(f"benchmarks.engine_peers.with_{sys.argv[1]}")
    print(json.dumps({package: version(package) for package in ("torch", *engine.PACKAGES)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run_job(engine, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
