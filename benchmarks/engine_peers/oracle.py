"""What the weights must be: one plain step in float64 on each step's micro-batches joined into one batch."""

import torch

from benchmarks.engine_peers.jobs import Job
from benchmarks.engine_peers.toy import ROWS, ToyData, ToyModel, build_optimizer, mean_loss

Weights = dict[str, list]


def oracle_weights(job: Job) -> Weights:
    """Return the weights after the steps of a job's epoch, all taken; no dropout, no shuffling, no poison."""
    model, data = ToyModel(job).double(), ToyData(job)
    optimizer = build_optimizer(model, job)
    for first in range(0, len(data), job.accumulation * ROWS):
        rows = slice(first, first + job.accumulation * ROWS)
        batch = {"input_ids": data.inputs[rows], "labels": data.targets[rows]}
        optimizer.zero_grad()
        mean_loss(model(batch["input_ids"]), batch).backward()
        optimizer.step()
    return {name: weight.detach().tolist() for name, weight in model.named_parameters()}


def largest_difference(left: Weights, right: Weights) -> float:
    """Return the largest difference of two sets of weights; nan if one of them is not a number."""
    return max(float((_tensor(left[name]) - _tensor(right[name])).abs().max()) for name in left)


def all_finite(weights: Weights) -> bool:
    """Return whether every weight is a number."""
    return all(bool(torch.isfinite(_tensor(values)).all()) for values in weights.values())


def _tensor(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
