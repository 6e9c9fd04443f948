"""Random numbers by purpose: one named generator for each use, all derived from one seed.

No number of a run comes from a global generator. (torch's own modules draw from one when they are built; each of those
numbers is replaced before it is used.) Adding a new use of randomness therefore never changes the numbers that another
use sees, and a checkpoint that holds every stream holds all the randomness of a run.
"""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and every name, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a fresh CPU generator for one purpose, for example `make_generator(seed, "weights")`."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def seed_global_generators(seed: int) -> None:
    """Seed Python, NumPy and torch: we use no number of theirs, but what others add may; checkpoints hold them."""
    random.seed(derive_seed(seed, "python"))
    np.random.seed(derive_seed(seed, "numpy") % 2**32)
    torch.manual_seed(derive_seed(seed, "torch"))


class RandomStreams:
    """Named CPU generators that are created on first use and saved together."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        if name not in self._generators:
            self._generators[name] = make_generator(self.seed, name)
        return self._generators[name]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every stream used so far."""
        return {"seed": self.seed, "streams": {name: g.get_state() for name, g in self._generators.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore every stream; streams not yet used when it was saved start fresh again."""
        if state["seed"] != self.seed:
            raise ValueError(f"random streams were saved for seed {state['seed']}, this run has seed {self.seed}")
        self._generators = {}
        for name, generator_state in state["streams"].items():
            self[name].set_state(generator_state)
