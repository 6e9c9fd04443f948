"""The statistics of a table: bootstrap intervals over seeds, paired differences, and Holm's correction.

The unit is the seed: a seed's value is its mean over the orders of tasks, as runs of one seed share their initial
weights and are not independent. Intervals are bootstrap intervals of the mean, bias-corrected and accelerated (BCa).
The test of a difference is the paired t-test. Where several arms are compared with one baseline, its p-values are
corrected so that the chance of any false claim in the table stays below the level (Holm).

Sources: Efron, JASA 82 (1987), for BCa, as scipy.stats.bootstrap computes it; Holm, Scand. J. Statist. 6 (1979).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import stats

Seed = TypeVar("Seed", int, str)

CONFIDENCE = 0.95
RESAMPLES = 9999
ROUNDING = 1e-12
"""Of the size of numbers: what sums of equal parts may differ by."""
FEWEST_FOR_TRUST = 5
"""With fewer seeds, a bootstrap interval is too narrow; tables say so."""


class Estimate(NamedTuple):
    """A mean over seeds with its interval."""

    mean: float
    low: float | None
    """Lower end of the interval; None with one seed, which has none."""
    high: float | None
    num_seeds: int


class Difference(NamedTuple):
    """The mean of paired differences from a baseline."""

    mean: float
    low: float | None
    high: float | None
    num_pairs: int
    p_value: float | None
    """Of the paired t-test, uncorrected; None where there is nothing to test."""


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value a seed, with its bootstrap interval."""
    mean = float(np.mean(values))
    return Estimate(mean, *_interval(values), len(values))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Return how far values lie from those of a baseline with the same seeds in the same order."""
    differences = np.subtract(values, baseline)
    p_value = None
    if len(differences) > 1 and not _are_equal(differences):
        p_value = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Difference(float(differences.mean()), *_interval(differences), len(differences), p_value)


def paired_by_seed(values: Mapping[Seed, float], baseline: Mapping[Seed, float]) -> Difference | None:
    """Return the paired difference over the seeds that both have; None where there is none."""
    seeds = [seed for seed in values if seed in baseline]
    if not seeds:
        return None
    return paired_difference([values[seed] for seed in seeds], [baseline[seed] for seed in seeds])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for how many there are: the i-th smallest of m times m - i + 1, never falling."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[place] = largest
    return corrected


def _are_equal(values: Sequence[float] | np.ndarray) -> bool:
    """Return whether numbers differ by rounding at most."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def _interval(values: Sequence[float] | np.ndarray) -> tuple[float | None, float | None]:
    """Return the ends of the interval of the mean; equal values have a point, one value has none."""
    if len(values) < 2:
        return None, None
    if _are_equal(values):
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
