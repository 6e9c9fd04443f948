"""Sums over the processes of a run. With one process every function returns what it was given."""

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks_(tensor: Tensor) -> Tensor:
    """Replace `tensor` in place by its sum over all ranks."""
    if num_ranks() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
    return tensor


def largest_over_ranks(values: list[int], device: torch.device) -> list[int]:
    """Return, for each value, the largest that any rank holds."""
    if num_ranks() == 1:
        return values
    largest = torch.tensor(values, dtype=torch.int64, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest.tolist()


def true_on_all_ranks(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` holds on every rank."""
    return largest_over_ranks([int(not flag)], device) == [0]
