"""An extension that makes one process of a run fail in every way, each once: a file says that it has."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mambrane.engine.extensions import StepChange

FAULTS = {"kill": 5, "raise": 6, "drift": 8, "stop": 9, "hang": 10}
"""After which step each comes; a run that saves every four steps sees the drift when it saves the eighth, at once."""


@dataclass
class Fail:
    """After-step extension: rank 1 does each fault at its step, unless a file of that name lies in `folder` already."""

    folder: str

    name = "fail"
    across_ranks = True

    def after_step(self, view):
        """Fail, or do nothing."""
        for how, step in FAULTS.items():
            happened = Path(self.folder) / how
            if view.applied_step == step and view.ranks.rank == 1 and not happened.exists():
                happened.touch()
                getattr(self, f"_{how}")(view)
        return StepChange({})

    def _kill(self, view):
        os.kill(os.getpid(), signal.SIGKILL)

    def _raise(self, view):
        raise ValueError("a defect on one rank")

    def _stop(self, view):
        os.kill(os.getpid(), signal.SIGTERM)

    def _hang(self, view):
        time.sleep(10_000)

    def _drift(self, view):
        view.model.norm.weight.data[0] += 1.0

    def state_dict(self):
        """Return nothing."""
        return {}

    def load_state_dict(self, state):
        """Take nothing back."""
