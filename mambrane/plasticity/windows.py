"""The window of an STDP rule as its code computes it: the change of a synapse over the timing or the rate of spikes."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambrane.plasticity import rules
from mambrane.plasticity.config import PlasticityConfig

NUM_POINTS = 41
LONGEST_DELAY = 200
TRIPLET_INTERVAL, TRIPLET_PAIRS = 50, 10
BCM_TOKENS, BCM_INPUT_RATE = 1000, 0.1


class Window(NamedTuple):
    """A curve: what changes the weight, and by how much, in units of the learning rate."""

    x: np.ndarray
    y: np.ndarray
    x_title: str
    rule: str


def window_of(config: PlasticityConfig) -> Window:
    """Return the window of a run's rule; of the homeostatic one without its scaling, which depends on no timing."""
    if config.stdp_type == "bcm":
        return _window_of_bcm(config)
    is_triplet = config.stdp_type == "triplet"
    longest = min(int(4 * max(config.stdp_tau_plus, config.stdp_tau_minus)) + 1, LONGEST_DELAY)
    # Farther than half the way to the next pair, a spike would belong to that one.
    reach = min(longest, TRIPLET_INTERVAL // 2 - 1) if is_triplet else longest
    num_pairs, interval = (TRIPLET_PAIRS, TRIPLET_INTERVAL) if is_triplet else (1, 0)
    delays_U = torch.linspace(-reach, reach, NUM_POINTS).round().long().unique()
    places_P = reach + interval * torch.arange(num_pairs)
    num_ticks = 2 * reach + interval * num_pairs + 1
    pre_TS, post_TU = torch.zeros(num_ticks, 1), torch.zeros(num_ticks, len(delays_U))
    pre_TS[places_P] = 1.0
    # One output for each delay, so that all are computed at once.
    for place in places_P:
        post_TU[place + delays_U, torch.arange(len(delays_U))] = 1.0
    trains = _trains(pre_TS, post_TU, config)
    change = rules.triplet(trains, balanced_rate_per_tick=config.stdp_target_rate) if is_triplet else rules.pair(trains)
    rule = f"triplet, a pair every {interval} tokens" if is_triplet else "pair"
    return Window(delays_U.double().numpy(), _net(change) / num_pairs, "output minus input spike, tokens", rule)


def _window_of_bcm(config: PlasticityConfig) -> Window:
    """Return the change a token for regular spikes on both sides, over the output's rate."""
    target = config.stdp_target_rate
    rates_U = torch.linspace(0.1 * target, min(3 * target, 1.0), NUM_POINTS, dtype=torch.float64)
    ticks_T = torch.arange(BCM_TOKENS + 1, dtype=torch.float64)
    pre_TS, post_TU = (
        (ticks_T[:, None] * rates).floor().diff(dim=0)
        for rates in (torch.tensor([BCM_INPUT_RATE], dtype=torch.float64), rates_U)
    )
    thetas_NU = torch.full((1, len(rates_U)), target, dtype=torch.float64)
    change = rules.bcm(_trains(pre_TS, post_TU, config), thetas_NU, target_rate_per_tick=target)
    x_title = "rate of the output, spikes per token"
    return Window(rates_U.numpy(), _net(change) / BCM_TOKENS, x_title, "BCM, threshold at its target")


def _trains(pre_TS: Tensor, post_TU: Tensor, config: PlasticityConfig) -> rules.SpikeTrains:
    resets_BT = torch.zeros(1, len(pre_TS), dtype=torch.bool)
    return rules.SpikeTrains(
        [pre_TS.double()[None]],
        [post_TU.double()[None]],
        resets_BT,
        tau_plus_ticks=config.stdp_tau_plus,
        tau_minus_ticks=config.stdp_tau_minus,
    )


def _net(change: rules.Change) -> np.ndarray:
    """Return potentiation minus depression of the synapse to each output."""
    return (change.potentiation_NUS - change.depression_NUS)[0, :, 0].numpy()
