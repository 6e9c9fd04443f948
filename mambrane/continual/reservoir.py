"""Which place of a replay buffer a new sequence takes, so that of n sequences seen each is kept with equal probability.

Source: Vitter, Random Sampling with a Reservoir, ACM TOMS 11 (1985), algorithm R; a share for each task as in
Avalanche's ExperienceBalancedBuffer (Carta et al., JMLR 24, 2023).
"""

import torch
from torch import Tensor

from mambrane.continual.replay_buffer import ReplayBuffer


def index_in_whole(buffer: ReplayBuffer, num_seen: int, generator: torch.Generator) -> int | None:
    """Return where the last of `num_seen` sequences of all tasks goes, in one reservoir for all; None if nowhere."""
    if buffer.size < buffer.capacity:
        return buffer.size
    index = _random_below(num_seen, generator)
    return index if index < buffer.capacity else None


def index_in_share(buffer: ReplayBuffer, task: int, num_seen: int, generator: torch.Generator) -> int | None:
    """Return where the last of `num_seen` sequences of the newest task goes, in a reservoir for each task.

    All tasks up to this one have equal shares; earlier ones give up what is above theirs. None if it goes nowhere.
    """
    share = max(1, buffer.capacity // (task + 1))
    if buffer.count_of(task) == share:
        index = _random_below(num_seen, generator)
        return int(buffer.indices_of(task)[index]) if index < share else None
    return buffer.size if buffer.size < buffer.capacity else index_of_largest_task(buffer, generator)


def index_of_largest_task(buffer: ReplayBuffer, generator: torch.Generator) -> int:
    """Return the index of any sequence of the task that holds most."""
    return _any_of_largest(buffer.tasks, generator)


def fitting(saved: dict[str, Tensor], capacity: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the columns of a saved buffer with as many sequences as there is room for; the largest task gives up."""
    kept = torch.arange(len(saved["tasks"])) if capacity else torch.arange(0)
    while len(kept) > capacity:
        given_up = _any_of_largest(saved["tasks"][kept], generator)
        kept = torch.cat([kept[:given_up], kept[given_up + 1 :]])
    return {name: column[kept] for name, column in saved.items()}


def _any_of_largest(tasks: Tensor, generator: torch.Generator) -> int:
    of_largest = (tasks == tasks.bincount().argmax()).nonzero().flatten()
    return int(of_largest[_random_below(len(of_largest), generator)])


def _random_below(end: int, generator: torch.Generator) -> int:
    return int(torch.randint(end, (), generator=generator))
