"""How the weights of a model are distributed: a histogram of each parameter."""

from typing import NamedTuple

import torch
from torch import nn

from mambrane.engine.shards import whole

BINS = 32


class Histogram(NamedTuple):
    """Counts of values in bins of equal width between the lowest and the highest."""

    low: float
    high: float
    counts: tuple[int, ...]


def weight_histograms(model: nn.Module) -> dict[str, Histogram]:
    """Return a histogram of the finite values of each parameter, by name; one that has none is left out.

    Parameters that lie in pieces are gathered one after the other, by all processes together.
    """
    found = {name: histogram_of(whole(parameter.detach())) for name, parameter in model.named_parameters()}
    return {name: histogram for name, histogram in found.items() if histogram is not None}


def histogram_of(values: torch.Tensor) -> Histogram | None:
    """Return the histogram of the finite values of a tensor; None where there is none."""
    values_N = values.float().flatten()
    values_N = values_N[torch.isfinite(values_N)]
    if not len(values_N):
        return None
    low, high = values_N.aminmax()
    # histc needs a width: equal values stand in the first bin.
    counts = torch.histc(values_N, BINS, min=low.item(), max=max(high.item(), low.item() + 1e-12))
    if low == high:
        counts = torch.zeros(BINS)
        counts[0] = len(values_N)
    return Histogram(low.item(), high.item(), tuple(int(count) for count in counts))
