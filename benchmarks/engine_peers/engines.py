"""The engines: which packages they need, and a process that runs their jobs."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.engine_peers.jobs import Job
from benchmarks.environments import ROOT, environment_python

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "transformers": ("transformers==5.23.0", "accelerate==1.15.0"),
    "accelerate": ("accelerate==1.15.0", "torchdata==0.11.0"),
    "fabric": ("lightning==2.6.6",),
    "mambrane": (),
}
TITLES = {
    "transformers": "HF Trainer",
    "accelerate": "Accelerate",
    "fabric": "Lightning Fabric",
    "mambrane": "Mambrane",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """How a job's process ended, and what it noted; a process that ended itself has noted nothing."""

    status: int
    notes: dict[str, Any]


class Engine:
    """One engine in an environment of its own, as a context; Mambrane runs with this interpreter."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.versions: dict[str, str] = {}
        self._numbers = count()

    def __enter__(self) -> "Engine":
        required = REQUIREMENTS[self.name]
        python = environment_python(self.name, *required) if required else sys.executable
        self._log = (self.folder / "worker.log").open("w")
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.engine_peers.worker", self.name],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.versions = self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._log.close()

    def run(self, job: Job) -> Reply:
        """Run a job in a fresh process."""
        number = next(self._numbers)
        notes, log = self.folder / f"job{number}.json", self.folder / f"job{number}.log"
        request = {"job": asdict(job), "notes": str(notes), "log": str(log)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = self._answer()
        return Reply(status, json.loads(notes.read_text()) if notes.exists() else {})

    def fresh_folder(self) -> str:
        """Return a folder for checkpoints that does not exist yet."""
        return str(self.folder / f"run{next(self._numbers)}")

    def _answer(self) -> Any:  # noqa: ANN401 -- any JSON value
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.name} ended:\n{(self.folder / 'worker.log').read_text()}")
        return json.loads(line)
