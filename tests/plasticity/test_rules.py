"""Claims about the four plasticity rules, against loops over spikes and against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from mambrane.core.seeding import make_generator
from mambrane.plasticity import rules

TAUS = {"tau_plus_ticks": 5.0, "tau_minus_ticks": 8.0}


def trains(*names: str, shape: tuple[int, ...] = (2, 50, 3), rate: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=make_generator(0, *names), dtype=torch.float64) < rate).double()


def observed(pre: Tensor, post: Tensor) -> rules.SpikeTrains:
    """Return the trains with their traces, as one document each."""
    return rules.SpikeTrains([pre], [post], torch.zeros(pre.shape[:2], dtype=torch.bool), **TAUS)


def one_pair(
    pre_tick: int, post_tick: int, resets_at: tuple[int, ...] = ()
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    pre, post, resets = torch.zeros(1, 30, 1), torch.zeros(1, 30, 1), torch.zeros(1, 30, dtype=torch.bool)
    pre[0, pre_tick], post[0, post_tick] = 1.0, 1.0
    resets[0, list(resets_at)] = True
    return [pre], [post], resets


@pytest.mark.parametrize("delay", [0, 1, 4, 20])
def test_presynaptic_first_potentiates_by_an_exponential_of_the_delay(delay: int):
    change = rules.pair(rules.SpikeTrains(*one_pair(3, 3 + delay), **TAUS))
    assert change.potentiation_NUS.item() == pytest.approx(math.exp(-delay / 5.0), rel=1e-5)
    assert change.depression_NUS.item() == 0.0


@pytest.mark.parametrize("delay", [1, 4, 20])
def test_postsynaptic_first_depresses_by_an_exponential_of_the_delay(delay: int):
    change = rules.pair(rules.SpikeTrains(*one_pair(3 + delay, 3), **TAUS), a_minus=0.5)
    assert change.potentiation_NUS.item() == 0.0
    assert change.depression_NUS.item() == pytest.approx(0.5 * math.exp(-delay / 8.0), rel=1e-5)


@pytest.mark.parametrize(("pre_tick", "post_tick"), [(3, 6), (6, 3)])
def test_no_pair_crosses_the_start_of_a_document(pre_tick: int, post_tick: int):
    trains = rules.SpikeTrains(*one_pair(pre_tick, post_tick, resets_at=(5,)), **TAUS)
    for change in (rules.pair(trains), rules.triplet(trains, balanced_rate_per_tick=0.1)):
        assert change.potentiation_NUS.item() == change.depression_NUS.item() == 0.0


def test_pair_rule_equals_a_loop_over_all_pairs_of_spikes():
    pre, post = trains("pre"), trains("post", shape=(2, 50, 4))
    change = rules.pair(observed(pre, post), a_minus=0.7)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for b, t_pre, s in pre.nonzero().tolist():
        for t_post, u in post[b].nonzero().tolist():
            delay = t_post - t_pre
            expected[u, s] += math.exp(-delay / 5.0) if delay >= 0 else -0.7 * math.exp(delay / 8.0)
    torch.testing.assert_close((change.potentiation_NUS - change.depression_NUS)[0], expected, rtol=1e-12, atol=1e-12)


def test_the_default_window_of_depression_has_five_percent_more_area_in_continuous_time():
    a_minus = rules.pair(rules.SpikeTrains(*one_pair(1, 0), **TAUS)).depression_NUS.item() / math.exp(-1 / 8.0)
    assert a_minus * TAUS["tau_minus_ticks"] == pytest.approx(1.05 * TAUS["tau_plus_ticks"], rel=1e-5)


@pytest.mark.parametrize("tau", [5.0, 20.0, 40.0])
def test_unrelated_spikes_depress_less_in_ticks_than_in_continuous_time(tau: float):
    pre, post = (trains(name, shape=(8, 8000, 2), rate=0.1) for name in ("pre", "post"))
    no_resets = torch.zeros(8, 8000, dtype=torch.bool)
    change = rules.pair(rules.SpikeTrains([pre], [post], no_resets, tau_plus_ticks=tau, tau_minus_ticks=tau))
    ratio = change.depression_NUS.sum() / change.potentiation_NUS.sum()
    assert ratio.item() == pytest.approx(1.05 * math.exp(-1 / tau), rel=0.01)


@pytest.mark.parametrize(("tau", "ratio"), [(5.0, 1.19), (20.0, 1.04)])
def test_unrelated_spikes_at_the_balanced_rate_potentiate_more_in_ticks_than_in_continuous_time(
    tau: float, ratio: float
):
    pre, post = (trains(name, shape=(32, 8000, 2), rate=0.1) for name in ("pre", "post"))
    no_resets = torch.zeros(32, 8000, dtype=torch.bool)
    observed_trains = rules.SpikeTrains([pre], [post], no_resets, tau_plus_ticks=tau, tau_minus_ticks=tau)
    change = rules.triplet(observed_trains, balanced_rate_per_tick=0.1)
    assert (change.potentiation_NUS.sum() / change.depression_NUS.sum()).item() == pytest.approx(ratio, rel=0.02)


def test_triplet_rule_equals_the_event_driven_form():
    pre, post = trains("pre"), trains("post")
    change = rules.triplet(observed(pre, post), balanced_rate_per_tick=0.2)
    tau_slow = 8.0 * 114.0 / 33.7
    a_plus = 8.0 / (5.0 * tau_slow * 0.2)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for b in range(2):
        r1, o1, o2 = (torch.zeros(3, dtype=torch.float64) for _ in range(3))
        for t in range(50):
            r1, o1, o2 = r1 * math.exp(-1 / 5.0), o1 * math.exp(-1 / 8.0), o2 * math.exp(-1 / tau_slow)
            expected -= torch.outer(o1, pre[b, t])
            r1 = r1 + pre[b, t]
            expected += a_plus * torch.outer(post[b, t] * o2, r1)
            o1, o2 = o1 + post[b, t], o2 + post[b, t]
    torch.testing.assert_close((change.potentiation_NUS - change.depression_NUS)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rate", "sign"), [(0.03, -1), (0.3, 1)])
def test_triplet_weakens_below_the_balanced_rate_and_strengthens_above(rate: float, sign: int):
    pre, post = (trains(name, shape=(8, 4000, 2), rate=rate) for name in ("pre", "post"))
    change = rules.triplet(observed(pre, post), balanced_rate_per_tick=0.1)
    assert (sign * (change.potentiation_NUS - change.depression_NUS) > 0).all()


def test_triplet_is_near_balance_at_the_balanced_rate():
    pre, post = (trains(name, shape=(8, 8000, 2), rate=0.1) for name in ("pre", "post"))
    no_resets = torch.zeros(8, 8000, dtype=torch.bool)
    trains_with_traces = rules.SpikeTrains([pre], [post], no_resets, tau_plus_ticks=40.0, tau_minus_ticks=40.0)
    change = rules.triplet(trains_with_traces, balanced_rate_per_tick=0.1)
    torch.testing.assert_close(change.potentiation_NUS, change.depression_NUS, rtol=0.1, atol=0.0)


def test_bcm_equals_its_formula_token_by_token():
    pre, post, theta = trains("pre"), trains("post"), torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
    resets = torch.zeros(2, 50, dtype=torch.bool)
    resets[1, 20] = True
    change = rules.bcm(rules.SpikeTrains([pre], [post], resets, **TAUS), theta[None], target_rate_per_tick=0.25)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for b in range(2):
        x, y = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for t in range(50):
            keep = 0.0 if resets[b, t] else 1.0
            x = keep * x * math.exp(-1 / 5.0) + pre[b, t]
            y = keep * y * math.exp(-1 / 8.0) + (1 - math.exp(-1 / 8.0)) * post[b, t]
            expected += torch.outer(y * (y - theta) / 0.25, x)
    torch.testing.assert_close((change.potentiation_NUS - change.depression_NUS)[0], expected, rtol=1e-12, atol=1e-12)


def test_scaling_keeps_every_sign_and_leaves_a_unit_on_target_alone():
    weight = torch.tensor([[0.5, -0.5], [0.5, -0.5], [0.5, -0.5]])
    change = rules.synaptic_scaling(weight, torch.tensor([0.0, 0.1, 0.3]), 0.1)
    torch.testing.assert_close(change, torch.tensor([[0.5, 0.5], [0.0, 0.0], [-1.0, -1.0]]))


def test_synapses_are_looked_at_together_and_change_as_each_would_alone():
    pre, post = ([trains(side, str(synapse)) for synapse in range(3)] for side in ("pre", "post"))
    theta, resets = torch.rand(3, 3, dtype=torch.float64), torch.rand(2, 50) < 0.1
    counted = torch.rand(2, 50) < 0.9

    def changes(synapses: slice) -> list[rules.Change]:
        some = rules.SpikeTrains(pre[synapses], post[synapses], resets, counted_BT=counted, **TAUS)
        return [
            rules.pair(some),
            rules.triplet(some, balanced_rate_per_tick=0.1),
            rules.bcm(some, theta[synapses], target_rate_per_tick=0.25),
        ]

    together = changes(slice(0, 3))
    for synapse in range(3):
        for all_of_them, alone in zip(together, changes(slice(synapse, synapse + 1)), strict=True):
            assert all(torch.equal(part[synapse], own[0]) for part, own in zip(all_of_them, alone, strict=True))
