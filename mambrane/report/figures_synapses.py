"""Pictures of synapses and neurons as training left them: weights, time constants, the STDP window, importance."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mambrane.plasticity.windows import Window
from mambrane.report.figures import FIRST_POPULATION, INK, MAMBA, RULE, SOFT_INK, Numbers, Picture, picture
from mambrane.watch.numbers import edges_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SYNAPSES = 4
PLASTIC = ".plastic.weight"

Histograms = Mapping[str, Mapping[str, Any]]


def block_number(name: str) -> int:
    """Return the number of the block, from 1, that a parameter belongs to."""
    return int(name.split(".")[1]) + 1


def plastic_synapses(histograms: Histograms) -> list[str]:
    """Return the plastic synapses among the parameters that were measured, the first and last where there are many."""
    names = sorted((name for name in histograms if name.endswith(PLASTIC)), key=block_number)
    return names if len(names) <= MOST_SYNAPSES else [*names[: MOST_SYNAPSES - 1], names[-1]]


def spread_of(histogram: Mapping[str, Any]) -> float:
    """Return the standard deviation of the values behind a histogram, as far as its bins tell."""
    edges, counts = np.array(edges_of(dict(histogram))), np.array(histogram["counts"], dtype=float)
    middles = (edges[1:] + edges[:-1]) / 2
    mean = (middles * counts).sum() / counts.sum()
    return float(np.sqrt(((middles - mean) ** 2 * counts).sum() / counts.sum()))


def weights_picture(before: Histograms, after: Histograms) -> Picture:
    """Return how the weights of each plastic synapse were distributed before training and are now."""
    names = [name for name in plastic_synapses(after) if name in before]
    spreads = [
        f"block {block_number(name)}: spread {spread_of(before[name]):.3f} before, {spread_of(after[name]):.3f} now"
        for name in names
    ]
    rows = [
        (block_number(name), when, low, high, count)
        for name in names
        for when, histograms in (("before", before), ("now", after))
        for low, high, count in _bins(histograms[name])
    ]
    return picture(
        "weights",
        60 + 110 * len(names),
        partial(_draw_weights, names=names, before=before, after=after),
        description="Weights of the plastic synapse before training and now. " + "; ".join(spreads),
        numbers=Numbers(("block", "when", "from", "to", "weights"), rows),
    )


def _bins(histogram: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    edges = edges_of(dict(histogram))
    return list(zip(edges[:-1], edges[1:], histogram["counts"], strict=True))


def _draw_weights(figure: "Figure", *, names: Sequence[str], before: Histograms, after: Histograms) -> None:
    all_axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(all_axes, names, strict=True):
        for histogram, colour, width in ((before[name], SOFT_INK, 1.2), (after[name], FIRST_POPULATION, 2.0)):
            edges, counts = np.array(edges_of(dict(histogram))), np.array(histogram["counts"], dtype=float)
            share = counts / counts.sum() / np.maximum(np.diff(edges), 1e-12)
            axes.stairs(share, edges, color=colour, linewidth=width)
        axes.set_title(f"block {block_number(name)}")
        axes.set_yticks([])
        axes.grid(visible=False)
    all_axes[-1].set_xlabel("weight of a synapse")


def time_constants_picture(constants: Mapping[str, np.ndarray], before: float | None, unit: str) -> Picture:
    """Return the learned time constants of each population: mean, four in five, all; a line where they began."""
    means = [f"{name}: mean {values.mean():.2f}" for name, values in constants.items()]
    began = "" if before is None else f" All began at {before:.2f}."
    rows = [(name, float(value)) for name, values in constants.items() for value in np.sort(values)]
    return picture(
        "time-constants",
        70 + 26 * len(constants),
        partial(_draw_time_constants, constants=constants, before=before, unit=unit),
        description=f"Time constants of the membranes, {unit}. {'; '.join(means)}.{began}",
        numbers=Numbers(("population", f"time constant, {unit}"), rows),
    )


def _draw_time_constants(
    figure: "Figure", *, constants: Mapping[str, np.ndarray], before: float | None, unit: str
) -> None:
    axes = figure.subplots()
    for row, values in enumerate(constants.values()):
        _draw_spread(axes, values, row)
    if before is not None:
        axes.axvline(before, color=SOFT_INK, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_ylim(len(constants) - 0.5, -0.5)
    axes.set_yticks(range(len(constants)), list(constants))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=RULE)
    axes.set_xlabel(unit)


def _draw_spread(axes: "Axes", values: np.ndarray, row: int) -> None:
    low, high = np.quantile(values, [0.1, 0.9])
    axes.plot([values.min(), values.max()], [row, row], color=FIRST_POPULATION, linewidth=1.0)
    axes.plot([low, high], [row, row], color=FIRST_POPULATION, alpha=0.45, linewidth=6)
    axes.plot(values.mean(), row, "o", color=FIRST_POPULATION, markersize=7)


def window_picture(window: Window) -> Picture:
    """Return by how much the rule changes a synapse, over the timing or the rate of its spikes."""
    top, bottom = int(window.y.argmax()), int(window.y.argmin())
    return picture(
        "stdp-window",
        240,
        partial(_draw_window, window=window),
        description=f"Window of the rule ({window.rule}): {window.x_title} against change of the weight; highest "
        f"{window.y[top]:.3g} at {window.x[top]:.3g}, lowest {window.y[bottom]:.3g} at {window.x[bottom]:.3g}",
        numbers=Numbers((window.x_title, "change over learning rate"), list(zip(window.x, window.y, strict=True))),
    )


def _draw_window(figure: "Figure", *, window: Window) -> None:
    axes = figure.subplots()
    axes.axhline(0.0, color=SOFT_INK, linewidth=0.8)
    for side in (window.x < 0, window.x >= 0):
        axes.plot(window.x[side], window.y[side], color=FIRST_POPULATION)
    axes.set_title("change of a synapse, in units of the learning rate")
    axes.set_xlabel(window.x_title)


def importance_picture(importance: Mapping[str, float], title: str) -> Picture:
    """Return how much the tasks so far lean on each block."""
    highest = max(importance, key=lambda name: importance[name])
    return picture(
        "importance",
        60 + 24 * len(importance),
        partial(_draw_importance, importance=importance, title=title),
        description=f"{title}, by layer: highest in {highest} ({importance[highest]:.3g})",
        numbers=Numbers(("layer", title), list(importance.items())),
    )


def _draw_importance(figure: "Figure", *, importance: Mapping[str, float], title: str) -> None:
    axes = figure.subplots()
    rows = range(len(importance))
    axes.barh(rows, list(importance.values()), color=MAMBA, height=0.6)
    axes.set_yticks(rows, list(importance))
    axes.set_ylim(len(importance) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=RULE)
    axes.set_title(title, color=INK)
