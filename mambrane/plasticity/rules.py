"""Four rules from spike trains to a weight change: sums over batch and time, as two matrix products each.

    x_t = exp(-1 / tau) x_{t-1} + s_t          a trace: counts the spike s_t in full at its own tick
    x_t-                                       the same trace without the spike of tick t

    pair          potentiation  sum_t post_t x_t             depression  a_minus sum_t y_t- pre_t
    triplet       potentiation  a_plus sum_t post_t o2_t- x_t            depression  sum_t y_t- pre_t
    BCM           potentiation  sum_t y_t^2 x_t / rho        depression  sum_t theta y_t x_t / rho
    homeostatic   pair, and weights scaled towards the target rate (`synaptic_scaling`)

The change is potentiation - depression, [U, S] as the weight is: S presynaptic, U postsynaptic units.

Coincidence: a pair of spikes at the same tick potentiates and does not depress, in every pair-based rule. The plastic
synapse hands a spike on within the tick, so that pair is causal. Event-driven simulators agree: Brian2 runs `on_pre`
(which reads the postsynaptic trace) before `on_post`.

Traces restart where a document starts, so no pair crosses two documents.

Sources: pair: Song, Miller, Abbott, Nature Neuroscience 3 (2000), with its depression larger by 1.05 in area. Triplet:
Pfister, Gerstner, J. Neurosci. 26 (2006), the minimal all-to-all model of visual cortex (A2+ = A3- = 0). BCM:
Bienenstock, Cooper, Munro, J. Neurosci. 2 (1982), rates read from spike traces, theta = E[y^2] / rho. Scaling:
Turrigiano et al., Nature 391 (1998); van Rossum, Bi, Turrigiano, J. Neurosci. 20 (2000); for inhibition Kilman, van
Rossum, Turrigiano, J. Neurosci. 22 (2002).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mambrane.ops.causal_trace import causal_trace

DEPRESSION_OVER_POTENTIATION = 1.05
"""Area of the depressing window over the potentiating one, so that unrelated spikes weaken a synapse."""
SLOW_TRACE_RATIO = 114.0 / 33.7
"""Time constant of the triplet's slow postsynaptic trace over tau_minus: table 4 of Pfister and Gerstner."""

Pre = Float[Tensor, "B T S"]
Post = Float[Tensor, "B T U"]
TickResets = Bool[Tensor, "B T"]


class Change(NamedTuple):
    """Both parts of a weight change, neither negative, so that soft bounds can weigh them apart."""

    potentiation_US: Float[Tensor, "U S"]
    depression_US: Float[Tensor, "U S"]


class Trains(NamedTuple):
    """Spike trains on both sides of a synapse, 0 or 1, a row for each tick, with their traces."""

    pre_BTS: Pre
    post_BTU: Post
    x_BTS: Pre
    """Presynaptic trace, time constant tau_plus."""
    y_BTU: Post
    """Postsynaptic trace, time constant tau_minus."""
    resets_BT: TickResets
    """True at the first tick of a document."""
    tau_plus_ticks: float
    """How long a presynaptic spike is remembered: decay of potentiation."""
    tau_minus_ticks: float
    """How long a postsynaptic spike is remembered: decay of depression."""

    @property
    def pre_rate_BTS(self) -> Pre:
        """Running rate of each presynaptic unit, in spikes per tick: its trace over the trace of a spike each tick."""
        return self.x_BTS * (1.0 - math.exp(-1.0 / self.tau_plus_ticks))

    @property
    def post_rate_BTU(self) -> Post:
        """Running rate of each postsynaptic unit, in spikes per tick."""
        return self.y_BTU * (1.0 - math.exp(-1.0 / self.tau_minus_ticks))


def trains_of(
    pre_BTS: Pre, post_BTU: Post, resets_BT: TickResets, *, tau_plus_ticks: float, tau_minus_ticks: float
) -> Trains:
    """Return spike trains with their traces; arguments as in `Trains`."""
    x_BTS = spike_trace(pre_BTS, tau_plus_ticks, resets_BT)
    y_BTU = spike_trace(post_BTU, tau_minus_ticks, resets_BT)
    return Trains(pre_BTS, post_BTU, x_BTS, y_BTU, resets_BT, tau_plus_ticks, tau_minus_ticks)


def spike_trace(spikes_BTS: Pre, tau_ticks: float, resets_BT: TickResets) -> Pre:
    """Return x_t = exp(-1 / tau) x_{t-1} + s_t for every unit, in the type of the spikes (float32 or float64)."""
    decay = math.exp(-1.0 / tau_ticks)
    average_BTS, _ = causal_trace(spikes_BTS, decay, resets_BT=resets_BT)
    # The operation weighs a spike by 1 - decay; the same rounding of it here cancels exactly.
    return average_BTS / (1.0 - torch.tensor(decay, dtype=spikes_BTS.dtype, device=spikes_BTS.device))


def pair(trains: Trains, *, a_minus: float | None = None) -> Change:
    """Return the change of classical pair STDP, all pairs counted, for a potentiation of 1 at coincidence.

    Args:
        trains: spikes and traces.
        a_minus: depression per pair; by default its area is 1.05 times that of potentiation.
    """
    if a_minus is None:
        a_minus = DEPRESSION_OVER_POTENTIATION * trains.tau_plus_ticks / trains.tau_minus_ticks
    y_before_BTU = trains.y_BTU - trains.post_BTU
    return Change(correlate(trains.post_BTU, trains.x_BTS), a_minus * correlate(y_before_BTU, trains.pre_BTS))


def triplet(trains: Trains, *, balanced_rate_per_tick: float) -> Change:
    """Return the change of minimal triplet STDP, for a depression of 1 per pair.

    Potentiation needs a presynaptic spike and an earlier postsynaptic one, so it grows with the square of the
    postsynaptic rate. Its amplitude is such that unrelated spikes leave the weight alone at `balanced_rate_per_tick`,
    weaken it below and strengthen it above.
    """
    tau_slow_ticks = SLOW_TRACE_RATIO * trains.tau_minus_ticks
    a_plus = trains.tau_minus_ticks / (trains.tau_plus_ticks * tau_slow_ticks * balanced_rate_per_tick)
    o1_before_BTU = trains.y_BTU - trains.post_BTU
    o2_before_BTU = spike_trace(trains.post_BTU, tau_slow_ticks, trains.resets_BT) - trains.post_BTU
    return Change(
        a_plus * correlate(trains.post_BTU * o2_before_BTU, trains.x_BTS),
        correlate(o1_before_BTU, trains.pre_BTS),
    )


def bcm(trains: Trains, theta_U: Float[Tensor, " U"], *, target_rate_per_tick: float) -> Change:
    """Return the change of BCM: x y (y - theta) / rho, with rates y read from the postsynaptic trace.

    Args:
        trains: spikes and traces.
        theta_U: threshold of each postsynaptic unit, in spikes per tick: a running mean of y^2 / rho.
        target_rate_per_tick: rho, the rate at which theta = E[y^2] / rho and y meet.
    """
    y_BTU = trains.post_rate_BTU
    return Change(
        correlate(y_BTU.square() / target_rate_per_tick, trains.x_BTS),
        correlate(y_BTU * theta_U / target_rate_per_tick, trains.x_BTS),
    )


def synaptic_scaling(
    weight_US: Float[Tensor, "U S"], rate_U: Float[Tensor, " U"], target_rate: float
) -> Float[Tensor, "U S"]:
    """Return (1 - rate / target) |w|: multiplicative scaling that pulls each postsynaptic unit to its target rate.

    Too quiet a unit has its excitatory weights scaled up and its inhibitory ones down, too busy a unit the reverse; no
    weight changes its sign by it. Rates in any one unit.
    """
    return (1.0 - rate_U / target_rate)[:, None] * weight_US.abs()


def correlate(post_BTU: Post, pre_BTS: Pre) -> Float[Tensor, "U S"]:
    """Return sum over batch and time of post_u pre_s: one matrix product."""
    return post_BTU.flatten(0, 1).T @ pre_BTS.flatten(0, 1)
