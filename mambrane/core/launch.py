"""What torchrun says of the processes that it has started; nothing heavy is imported for it."""

import os


def num_processes() -> int:
    """Return how many processes torchrun has started for the run; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Return whether this process speaks for the run: rank 0 of torchrun's, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0
