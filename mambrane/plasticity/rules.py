"""Four rules from spike trains to a weight change: sums over batch and time.

    x_t = exp(-1 / tau) x_{t-1} + s_t          a trace: counts the spike s_t in full at its own tick
    x_t-                                       the same trace without the spike of tick t

    pair          potentiation  sum_t post_t x_t             depression  a_minus sum_t y_t- pre_t
    triplet       potentiation  a_plus sum_t post_t o2_t- x_t            depression  sum_t y_t- pre_t
    BCM           potentiation  sum_t y_t^2 x_t / rho        depression  sum_t theta y_t x_t / rho
    homeostatic   pair, and weights scaled towards the target rate (`synaptic_scaling`)

The change is potentiation - depression, [U, S] as the weight is: S presynaptic, U postsynaptic units. Rules look at N
synapses at once, which share their ticks and the starts of documents.

Coincidence: a pair of spikes at the same tick potentiates and does not depress, in every pair-based rule. The plastic
synapse hands a spike on within the tick, so that pair is causal. Event-driven simulators agree: Brian2 runs `on_pre`
(which reads the postsynaptic trace) before `on_post`. Amplitudes are balanced as in continuous time, where no two
spikes coincide; in ticks, with equal time constants, unrelated spikes depress exp(-1 / tau) times as much as the
balance says: 0.95 at 20 ticks, 0.61 at 2.

Traces restart where a document starts, so no pair crosses two documents.

Sources: pair: Song, Miller, Abbott, Nature Neuroscience 3 (2000), with its depression larger by 1.05 in area. Triplet:
Pfister, Gerstner, J. Neurosci. 26 (2006), the minimal all-to-all model of visual cortex (A2+ = A3- = 0). BCM:
Bienenstock, Cooper, Munro, J. Neurosci. 2 (1982), rates read from spike traces, theta = E[y^2] / rho. Scaling:
Turrigiano et al., Nature 391 (1998); van Rossum, Bi, Turrigiano, J. Neurosci. 20 (2000); for inhibition Kilman, van
Rossum, Turrigiano, J. Neurosci. 22 (2002).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mambrane.ops.spike_pairs import SpikePairs, spike_pairs, spike_trace

DEPRESSION_OVER_POTENTIATION = 1.05
"""Area of the depressing window over the potentiating one, in continuous time."""
SLOW_TRACE_RATIO = 114.0 / 33.7
"""Time constant of the triplet's slow postsynaptic trace over tau_minus: table 4 of Pfister and Gerstner."""

Pre = Float[Tensor, "B T S"]
Post = Float[Tensor, "B T U"]
TickResets = Bool[Tensor, "B T"]


class Change(NamedTuple):
    """Both parts of a weight change, neither negative, so that soft bounds can weigh them apart."""

    potentiation_NUS: Float[Tensor, "N U S"]
    depression_NUS: Float[Tensor, "N U S"]


@dataclass(frozen=True)
class SpikeTrains:
    """Spike trains on both sides of synapses, 0 or 1, a row for each tick; what rules read is made when asked for."""

    pre: Sequence[Pre]
    post: Sequence[Post]
    resets_BT: TickResets
    """True at the first tick of a document."""
    tau_plus_ticks: float
    """How long a presynaptic spike is remembered: decay of potentiation."""
    tau_minus_ticks: float
    """How long a postsynaptic spike is remembered: decay of depression."""
    counted_BT: TickResets | None = None
    """False where spikes do not count; all do where not given."""
    high_rate_per_tick: float = math.inf
    """Running rate above which a unit counts as high, in spikes per tick."""

    @cached_property
    def pairs(self) -> SpikePairs:
        """Sums over pairs of spikes, and how often both units of a synapse were high."""
        return spike_pairs(
            self.pre,
            self.post,
            decay_plus=decay_of(self.tau_plus_ticks),
            decay_minus=decay_of(self.tau_minus_ticks),
            high_x=self.high_rate_per_tick * trace_over_rate(self.tau_plus_ticks),
            high_y=self.high_rate_per_tick * trace_over_rate(self.tau_minus_ticks),
            resets_BT=self.resets_BT,
            counted_BT=self.counted_BT,
        )

    @cached_property
    def counted_post(self) -> list[Post]:
        """Postsynaptic spikes that count."""
        return [self.counted(post_BTU) for post_BTU in self.post]

    @cached_property
    def x(self) -> list[Pre]:
        """Presynaptic traces."""
        return self._traces([self.counted(pre_BTS) for pre_BTS in self.pre], self.tau_plus_ticks)

    @cached_property
    def post_rates(self) -> list[Post]:
        """Running rate of each postsynaptic unit, in spikes per tick."""
        ratio = trace_over_rate(self.tau_minus_ticks)
        return [y_BTU / ratio for y_BTU in self.post_traces(self.tau_minus_ticks)]

    def post_traces(self, tau_ticks: float) -> list[Post]:
        """Return the postsynaptic traces with a time constant."""
        return self._traces(self.counted_post, tau_ticks)

    def counted(self, spikes_BTS: Pre) -> Pre:
        """Return spikes, or what is derived from them, with zeros where spikes do not count."""
        return spikes_BTS if self.counted_BT is None else spikes_BTS * self.counted_BT.unsqueeze(-1)

    def _traces(self, spikes: list[Pre], tau_ticks: float) -> list[Pre]:
        return [spike_trace(spikes_BTS, decay_of(tau_ticks), self.resets_BT) for spikes_BTS in spikes]


def decay_of(tau_ticks: float) -> float:
    """Return the part of a trace kept per tick."""
    return math.exp(-1.0 / tau_ticks)


def trace_over_rate(tau_ticks: float) -> float:
    """Return the trace of a unit that fires at every tick."""
    return 1.0 / (1.0 - decay_of(tau_ticks))


def pair(trains: SpikeTrains, *, a_minus: float | None = None) -> Change:
    """Return the change of classical pair STDP, all pairs counted, for a potentiation of 1 at coincidence.

    `a_minus` is the depression per pair; by default the area of its window is 1.05 times that of potentiation, in
    continuous time. In ticks, with equal time constants, unrelated spikes depress 1.05 exp(-1 / tau) times as much as
    they potentiate: 1.02 at 40 ticks, 1.00 at 20, 0.86 at 5.
    """
    if a_minus is None:
        a_minus = DEPRESSION_OVER_POTENTIATION * trains.tau_plus_ticks / trains.tau_minus_ticks
    return Change(trains.pairs.causal_NUS, a_minus * trains.pairs.acausal_NUS)


def triplet(trains: SpikeTrains, *, balanced_rate_per_tick: float) -> Change:
    """Return the change of minimal triplet STDP, for a depression of 1 per pair.

    Potentiation needs a presynaptic spike and an earlier postsynaptic one, so it grows with the square of the
    postsynaptic rate. Its amplitude is such that unrelated spikes leave the weight alone at `balanced_rate_per_tick`,
    weaken it below and strengthen it above, in continuous time; in ticks they potentiate 4 % more there at 20 ticks,
    19 % more at 5.
    """
    tau_slow_ticks = SLOW_TRACE_RATIO * trains.tau_minus_ticks
    a_plus = trains.tau_minus_ticks / (trains.tau_plus_ticks * tau_slow_ticks * balanced_rate_per_tick)
    triples = [
        z_BTU * (o2_BTU - z_BTU)
        for z_BTU, o2_BTU in zip(trains.counted_post, trains.post_traces(tau_slow_ticks), strict=True)
    ]
    return Change(a_plus * _correlate(triples, trains.x), trains.pairs.acausal_NUS)


def bcm(trains: SpikeTrains, theta_NU: Float[Tensor, "N U"], *, target_rate_per_tick: float) -> Change:
    """Return the change of BCM: x y (y - theta) / rho, with rates y read from the postsynaptic trace.

    Args:
        trains: spikes and traces.
        theta_NU: threshold of each postsynaptic unit, in spikes per tick: a running mean of y^2 / rho.
        target_rate_per_tick: rho, the rate at which theta = E[y^2] / rho and y meet.
    """
    rates = trains.post_rates
    squares = [y_BTU.square() / target_rate_per_tick for y_BTU in rates]
    scaled = [y_BTU * theta_U / target_rate_per_tick for y_BTU, theta_U in zip(rates, theta_NU, strict=True)]
    return Change(_correlate(squares, trains.x), _correlate(scaled, trains.x))


def synaptic_scaling(
    weight_US: Float[Tensor, "*N U S"], rate_U: Float[Tensor, "*N U"], target_rate: float
) -> Float[Tensor, "*N U S"]:
    """Return (1 - rate / target) |w|: multiplicative scaling that pulls each postsynaptic unit to its target rate.

    Too quiet a unit has its excitatory weights scaled up and its inhibitory ones down, too busy a unit the reverse; no
    weight changes its sign by it. Rates in any one unit; one synapse, or several stacked.
    """
    return (1.0 - rate_U / target_rate).unsqueeze(-1) * weight_US.abs()


def _correlate(post: list[Post], pre: list[Pre]) -> Float[Tensor, "N U S"]:
    pairs = zip(post, pre, strict=True)
    return torch.stack([post_BTU.flatten(0, 1).T @ pre_BTS.flatten(0, 1) for post_BTU, pre_BTS in pairs])
