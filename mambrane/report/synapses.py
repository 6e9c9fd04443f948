"""The report's section on what training did to synapses and neurons: weights, time constants, window, importance."""

import math
from collections.abc import Mapping
from typing import Any

from mambrane.report import page
from mambrane.report.data import ReportData
from mambrane.report.figures_synapses import (
    importance_picture,
    plastic_synapses,
    time_constants_picture,
    weights_picture,
    window_picture,
)
from mambrane.watch.history import RunHistory


def synapses(data: ReportData) -> str:
    """Return the section; empty where the run has nothing to show in it."""
    pieces = [_weights(data.history), _window(data), _time_constants(data), _importance(data)]
    if not any(pieces):
        return ""
    return page.section("synapses", "Synapses and time constants", *pieces)


def _weights(history: RunHistory) -> str:
    whole = {step: histograms for step, histograms in history.weights.items() if _is_whole(histograms)}
    if len(whole) < 2:
        return ""
    before, after = whole[min(whole)], whole[max(whole)]
    if not [name for name in plastic_synapses(after) if name in before]:
        return ""
    caption = (
        f"Weights of the plastic synapse between the two populations: pale before training, dark after step "
        f"{max(whole):,}. Gradient and STDP both move them; a pile at a bound is STDP's."
    )
    return page.figure(weights_picture(before, after), caption)


def _is_whole(histograms: Any) -> bool:  # noqa: ANN401 -- any JSON value
    """Return whether what a log holds are histograms."""
    return isinstance(histograms, Mapping) and all(
        isinstance(each, Mapping)
        and all(isinstance(each.get(end), int | float) for end in ("low", "high"))
        and isinstance(each.get("counts"), list)
        and sum(count for count in each["counts"] if isinstance(count, int)) > 0
        for each in histograms.values()
    )


def _window(data: ReportData) -> str:
    if data.window is None:
        return ""
    caption = (
        "What one pair of spikes does to a synapse under the rule of this run: right of zero the output fires after "
        "the input, which strengthens; left of it, before, which weakens."
        if "rate" not in data.window.x_title
        else "What the rule does to a synapse at each rate of its output: below the threshold it weakens, above it "
        "strengthens."
    )
    return page.figure(window_picture(data.window), caption)


def _time_constants(data: ReportData) -> str:
    if not data.time_constants:
        return ""
    caption = (
        "How long a membrane remembers, learned neuron by neuron: dot, mean; thick, four neurons in five; thin, all. "
        "Dashed: where all began."
    )
    unit = "ticks" if data.ticks_per_token > 1 else "tokens"
    return page.figure(time_constants_picture(data.time_constants, _where_all_began(data.history), unit), caption)


def _where_all_began(history: RunHistory) -> float | None:
    """Return the time constant of every neuron before the first step; None where they differed or none is known."""
    first = history.weights.get(0)
    if first is None or not _is_whole(first):
        return None
    ends = {first[name][end] for name in first if name.endswith(".log_tau") for end in ("low", "high")}
    return math.exp(ends.pop()) if len(ends) == 1 else None


def _importance(data: ReportData) -> str:
    if data.importance is None:
        return ""
    return page.figure(importance_picture(data.importance.by_layer, data.importance.title), data.importance.caption)
