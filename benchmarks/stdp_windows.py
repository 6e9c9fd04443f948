"""Draws the window of each STDP rule, as its code computes it: `python benchmarks/stdp_windows.py`.

Pair and triplet rule: the change of one synapse over the time from the input's spike to the output's. BCM and the
scaling of the homeostatic rule have no such window: their change over the output's rate. The picture is
docs/pictures/stdp-windows.svg.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mambrane.plasticity import rules

OUTPUT = ROOT / "docs" / "pictures" / "stdp-windows.svg"
TAU_TICKS, TARGET_RATE, PAIRS = 20.0, 0.1, 10
INK, COLOURS = "#1f2933", ("#1f6f8b", "#d9822b", "#4c8c4a")


def trains(pre_T: Tensor, post_T: Tensor) -> rules.SpikeTrains:
    """Return spike trains of one synapse."""
    pre, post = (spikes_T.double().view(1, -1, 1) for spikes_T in (pre_T, post_T))
    resets = torch.zeros(1, len(pre_T), dtype=torch.bool)
    return rules.SpikeTrains([pre], [post], resets, tau_plus_ticks=TAU_TICKS, tau_minus_ticks=TAU_TICKS)


def pairs(delay_ticks: int, interval_ticks: int) -> rules.SpikeTrains:
    """Return pairs of spikes, the output's `delay_ticks` behind the input's, one pair every `interval_ticks`."""
    pre_T, post_T = torch.zeros(2, 100 + PAIRS * interval_ticks + 100)
    places = 100 + interval_ticks * torch.arange(PAIRS)
    pre_T[places], post_T[places + delay_ticks] = 1.0, 1.0
    return trains(pre_T, post_T)


def net(change: rules.Change) -> float:
    """Return potentiation minus depression of the one synapse."""
    return float(change.potentiation_NUS - change.depression_NUS)


def main() -> None:
    """Draw the picture."""
    delays, rates = list(range(-80, 81)), [n / 100 for n in range(1, 31)]
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    pair_axes, triplet_axes, bcm_axes, scaling_axes = figure.subplots(2, 2).flat
    pair_axes.plot(delays, [net(rules.pair(pairs(d, 400))) / PAIRS for d in delays], color=COLOURS[0])
    pair_axes.set_title("pair (classical, homeostatic)")
    for interval, colour in zip((200, 50, 20), COLOURS, strict=True):
        shown = [d for d in delays if abs(d) < interval]
        changes = [net(rules.triplet(pairs(d, interval), balanced_rate_per_tick=TARGET_RATE)) / PAIRS for d in shown]
        triplet_axes.plot(shown, changes, color=colour, label=f"a pair every {interval} ticks")
    triplet_axes.set_title("triplet")
    triplet_axes.legend(frameon=False, loc="lower left")
    for theta, colour in zip((0.05, 0.1, 0.2), COLOURS, strict=True):
        changes = [bcm_change(rate, theta) for rate in rates]
        bcm_axes.plot(rates, changes, color=colour, label=f"threshold {theta}")
    bcm_axes.set_title("BCM")
    bcm_axes.legend(frameon=False)
    scaling = rules.synaptic_scaling(torch.ones(len(rates), 1), torch.tensor(rates), TARGET_RATE)
    scaling_axes.plot(rates, scaling[:, 0].tolist(), color=COLOURS[0])
    scaling_axes.set_title("scaling of the homeostatic rule, of |w|")
    for axes, words in zip(
        (pair_axes, triplet_axes, bcm_axes, scaling_axes),
        ("output minus input spike, ticks",) * 2 + ("output rate, spikes per tick",) * 2,
        strict=True,
    ):
        axes.axhline(0.0, color=INK, linewidth=0.6)
        axes.set_xlabel(words)
        axes.set_ylabel("change of the weight")
        axes.spines[["top", "right"]].set_visible(False)
    OUTPUT.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mambrane"}):
        figure.savefig(OUTPUT, metadata={"Date": None})
    print(OUTPUT)


def bcm_change(rate: float, theta: float) -> float:
    """Return the change a tick of BCM for an input of 0.1 spikes a tick and an output of that rate, both regular."""
    ticks = torch.arange(4000)
    pre_T = ((ticks + 1) * 0.1).floor() - (ticks * 0.1).floor()
    post_T = ((ticks + 1) * rate).floor() - (ticks * rate).floor()
    thetas = torch.full((1, 1), theta, dtype=torch.float64)
    return net(rules.bcm(trains(pre_T, post_T), thetas, target_rate_per_tick=TARGET_RATE)) / len(ticks)


if __name__ == "__main__":
    main()
