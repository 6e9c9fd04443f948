"""Random numbers by purpose: one named generator for each use, all derived from one seed.

No number of a run comes from a global generator. (torch's own modules draw from one when they are built; each of those
numbers is replaced before it is used.) Adding a new use of randomness therefore never changes the numbers that another
use sees, and a checkpoint that holds every generator holds all the randomness of a run.
"""

import hashlib
import random

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
