"""An extension that makes one process of a run fail, once: a file says that it has."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mambrane.engine.extensions import StepChange


@dataclass
class Fail:
    """After-step extension: in step `step`, the process `rank` does `how`, unless the file is there already."""

    file: str
    how: str
    rank: int = 1
    step: int = 5

    name = "fail"
    across_ranks = True

    def after_step(self, view):
        """Fail, or do nothing."""
        if view.applied_step == self.step and view.ranks.rank == self.rank and not Path(self.file).exists():
            Path(self.file).touch()
            {"kill": self._kill, "raise": self._raise, "stop": self._stop, "hang": self._hang, "drift": self._drift}[
                self.how
            ](view)
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
