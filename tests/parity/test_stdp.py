"""All rules against Brian2 on the same spike trains: the pair, triplet, BCM and homeostatic rule."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.plasticity import rules

NUM_TICKS, NUM_PRE, NUM_POST = 200, 6, 5
TAU_PLUS, TAU_MINUS, A_MINUS = 20.0, 14.0, 0.8

TARGET_RATE, TAU_SLOW_TICKS = 0.1, rules.SLOW_TRACE_RATIO * TAU_MINUS
ANSWERS_FILE = Path(__file__).parent / "brian2_answers.json"
"""Weight changes [U, S] of each other rule that Brian2 2.9.0 gave for the spikes of the fixture."""

FLOAT32_RATIO = 2.5e-6
"""exp(-1/20) rounded to float32 moves a trace by up to 20 x 6e-8 of itself, and both parts of the change add up."""
BRIAN2_ANSWER = [
    [36.3572505216, 38.4949102399, 27.1448066534, 30.3091299069, 39.7776830654, 48.0240171719],
    [22.4168646911, 29.9892668733, 33.1072834001, 21.4288492374, 21.1204806192, 37.4569620526],
    [48.2531853780, 35.8149263643, 25.5843020303, 20.3521448343, 20.2513082793, 33.2277132380],
    [34.9595726730, 45.2103361584, 42.7029768426, 23.6748196211, 39.7718869201, 28.3280664382],
    [18.3454903978, 20.8844513142, 29.1628052696, 12.1861517368, 19.0887394559, 22.6469017368],
]
"""Weight changes [U, S] that Brian2 2.9.0 (NumPy 2.3.5) gave for the spikes of the fixture."""


@pytest.fixture(scope="module")
def spikes() -> tuple[torch.Tensor, torch.Tensor]:
    """Spike trains [1, T, S] and [1, T, U] with many coincident spikes."""
    pre, post = (
        (torch.rand((1, NUM_TICKS, size), generator=make_generator(5, name), dtype=torch.float64) < 0.15).double()
        for name, size in (("pre", NUM_PRE), ("post", NUM_POST))
    )
    assert (pre.sum(-1) * post.sum(-1)).sum() > 50
    return pre, post


def brian2_pair_stdp(pre_TS: np.ndarray, post_TU: np.ndarray) -> np.ndarray:
    """Weight change [U, S] of the additive pair rule of Brian2's STDP example, one tick a millisecond, no bounds."""
    brian2 = pytest.importorskip("brian2", minversion="2.9")
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * brian2.ms

    def generator(spikes: np.ndarray) -> object:
        ticks, units = spikes.nonzero()
        return brian2.SpikeGeneratorGroup(spikes.shape[1], units, ticks * brian2.ms)

    pre, post = generator(pre_TS), generator(post_TU)
    synapses = brian2.Synapses(
        pre,
        post,
        f"""w : 1
        dApre/dt = -Apre / ({TAU_PLUS} * ms) : 1 (event-driven)
        dApost/dt = -Apost / ({TAU_MINUS} * ms) : 1 (event-driven)""",
        on_pre=f"Apre += 1\nw -= {A_MINUS} * Apost",
        on_post="Apost += 1\nw += Apre",
    )
    synapses.connect()
    brian2.Network(pre, post, synapses).run(NUM_TICKS * brian2.ms)
    change = np.zeros((NUM_POST, NUM_PRE))
    change[np.asarray(synapses.j), np.asarray(synapses.i)] = np.asarray(synapses.w)
    return change


@pytest.mark.peer
@pytest.mark.skipif(not hasattr(np.ndarray, "ptp"), reason="Brian2 2.9 does not import with NumPy 2.4 or newer")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pair_rule_agrees_with_brian2_on_the_same_spikes(spikes: tuple[torch.Tensor, torch.Tensor]):
    expected = torch.from_numpy(brian2_pair_stdp(spikes[0][0].numpy(), spikes[1][0].numpy()))
    torch.testing.assert_close(our_pair(spikes), expected, rtol=0.0, atol=1e-10)
    # The recorded answer of the next test is this one.
    torch.testing.assert_close(torch.tensor(BRIAN2_ANSWER, dtype=torch.float64), expected, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "ratio"), [(torch.float64, 1e-10), (torch.float32, FLOAT32_RATIO)])
def test_pair_rule_agrees_with_the_recorded_answer_of_brian2(
    spikes: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype, ratio: float
):
    expected = torch.tensor(BRIAN2_ANSWER, dtype=torch.float64)
    scale = expected.abs().max().item()
    changes = our_pair((spikes[0].to(dtype), spikes[1].to(dtype))).double()
    torch.testing.assert_close(changes, expected, rtol=0.0, atol=ratio * scale)


def brian2_synapses(
    pre_TS: np.ndarray, post_TU: np.ndarray, *, kind: str, on_pre: str, on_post: str, every_tick: str = ""
) -> object:
    """Run synapses with the traces Apre, Apost and Aslow, a tick a millisecond, and return them.

    Args:
        pre_TS: input spikes.
        post_TU: output spikes.
        kind: "event-driven" or "clock-driven" traces; the second may be read at every tick.
        on_pre: what an input spike does; it runs before `on_post` within a tick.
        on_post: what an output spike does.
        every_tick: what is done at the end of each tick.
    """
    brian2 = pytest.importorskip("brian2", minversion="2.9")
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * brian2.ms

    def generator(spikes: np.ndarray) -> object:
        ticks, units = spikes.nonzero()
        return brian2.SpikeGeneratorGroup(spikes.shape[1], units, ticks * brian2.ms)

    pre, post = generator(pre_TS), generator(post_TU)
    taus = {"Apre": TAU_PLUS, "Apost": TAU_MINUS, "Aslow": TAU_SLOW_TICKS}
    traces = "\n".join(f"d{name}/dt = -{name} / ({tau} * ms) : 1 ({kind})" for name, tau in taus.items())
    model = f"w : 1\ndw : 1\nnum_spikes : 1\ntheta : 1\n{traces}"
    method = {"method": "exact"} if kind == "clock-driven" else {}
    synapses = brian2.Synapses(pre, post, model, on_pre=on_pre, on_post=on_post, **method)
    synapses.connect()
    synapses.w = "0.3 * sin(1.0 + i + 7 * j)"
    synapses.theta = "0.02 + 0.01 * j"
    if every_tick:
        synapses.run_regularly(every_tick, dt=1 * brian2.ms, when="end")
    brian2.Network(pre, post, synapses).run(NUM_TICKS * brian2.ms)
    return synapses


def initial_weights() -> torch.Tensor:
    """Return the weights [U, S] that `brian2_synapses` starts from."""
    i, j = torch.arange(NUM_PRE, dtype=torch.float64), torch.arange(NUM_POST, dtype=torch.float64)[:, None]
    return 0.3 * torch.sin(1.0 + i + 7 * j)


def change_in(synapses: object) -> np.ndarray:
    change = np.zeros((NUM_POST, NUM_PRE))
    change[np.asarray(synapses.j), np.asarray(synapses.i)] = np.asarray(synapses.dw)
    return change


def brian2_triplet(pre_TS: np.ndarray, post_TU: np.ndarray) -> np.ndarray:
    """Return the change of the minimal triplet rule as Brian2's events make it."""
    a_plus = TAU_MINUS / (TAU_PLUS * TAU_SLOW_TICKS * TARGET_RATE)
    on_post = f"dw += {a_plus!r} * Apre * Aslow\nApost += 1\nAslow += 1"
    return change_in(
        brian2_synapses(pre_TS, post_TU, kind="event-driven", on_pre="Apre += 1\ndw -= Apost", on_post=on_post)
    )


def brian2_bcm(pre_TS: np.ndarray, post_TU: np.ndarray) -> np.ndarray:
    """Return the change of BCM: at the end of each tick x y (y - theta) / rho, y the rate in the output trace."""
    rate = f"(Apost * {1.0 - rules.decay_of(TAU_MINUS)!r})"
    every_tick = f"dw += Apre * {rate} * ({rate} - theta) / {TARGET_RATE}"
    return change_in(
        brian2_synapses(
            pre_TS, post_TU, kind="clock-driven", on_pre="Apre += 1", on_post="Apost += 1", every_tick=every_tick
        )
    )


def brian2_homeostatic(pre_TS: np.ndarray, post_TU: np.ndarray) -> np.ndarray:
    """Return the change of the pair rule and of scaling by the rate that was counted."""
    synapses = brian2_synapses(
        pre_TS,
        post_TU,
        kind="event-driven",
        on_pre=f"Apre += 1\ndw -= {A_MINUS} * Apost",
        on_post="Apost += 1\ndw += Apre\nnum_spikes += 1",
    )
    synapses.dw = f"dw + (1.0 - num_spikes / {NUM_TICKS} / {TARGET_RATE}) * abs(w)"
    return change_in(synapses)


def trains_of(spikes: tuple[torch.Tensor, torch.Tensor], starts: tuple[int, ...] = ()) -> rules.SpikeTrains:
    """Return the trains; a document starts at each tick of `starts`."""
    pre, post = spikes
    resets = torch.zeros(1, NUM_TICKS, dtype=torch.bool)
    resets[0, list(starts)] = True
    return rules.SpikeTrains([pre], [post], resets, tau_plus_ticks=TAU_PLUS, tau_minus_ticks=TAU_MINUS)


def our_pair(spikes: tuple[torch.Tensor, torch.Tensor], starts: tuple[int, ...] = ()) -> torch.Tensor:
    change = rules.pair(trains_of(spikes, starts), a_minus=A_MINUS)
    return (change.potentiation_NUS - change.depression_NUS)[0]


def our_triplet(spikes: tuple[torch.Tensor, torch.Tensor], starts: tuple[int, ...] = ()) -> torch.Tensor:
    change = rules.triplet(trains_of(spikes, starts), balanced_rate_per_tick=TARGET_RATE)
    return (change.potentiation_NUS - change.depression_NUS)[0]


def our_bcm(spikes: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    theta = 0.02 + 0.01 * torch.arange(NUM_POST, dtype=torch.float64)[None]
    change = rules.bcm(trains_of(spikes), theta, target_rate_per_tick=TARGET_RATE)
    return (change.potentiation_NUS - change.depression_NUS)[0]


def our_homeostatic(spikes: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    rate_U = spikes[1][0].mean(dim=0)
    return our_pair(spikes) + rules.synaptic_scaling(initial_weights(), rate_U, TARGET_RATE)


OTHER_RULES: dict[str, tuple[Callable, Callable]] = {
    "triplet": (brian2_triplet, our_triplet),
    "bcm": (brian2_bcm, our_bcm),
    "homeostatic": (brian2_homeostatic, our_homeostatic),
}


@pytest.mark.peer
@pytest.mark.skipif(not hasattr(np.ndarray, "ptp"), reason="Brian2 2.9 does not import with NumPy 2.4 or newer")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("rule", OTHER_RULES)
def test_a_rule_agrees_with_brian2_on_the_same_spikes(rule: str, spikes: tuple[torch.Tensor, torch.Tensor]):
    theirs, ours = OTHER_RULES[rule]
    expected = torch.from_numpy(theirs(spikes[0][0].numpy(), spikes[1][0].numpy()))
    torch.testing.assert_close(ours(spikes), expected, rtol=0.0, atol=1e-9)
    recorded = json.loads(ANSWERS_FILE.read_text())[rule]
    torch.testing.assert_close(torch.tensor(recorded, dtype=torch.float64), expected, rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("rule", OTHER_RULES)
def test_a_rule_agrees_with_the_recorded_answer_of_brian2(rule: str, spikes: tuple[torch.Tensor, torch.Tensor]):
    expected = torch.tensor(json.loads(ANSWERS_FILE.read_text())[rule], dtype=torch.float64)
    torch.testing.assert_close(OTHER_RULES[rule][1](spikes), expected, rtol=0.0, atol=1e-8)


@pytest.mark.peer
@pytest.mark.skipif(not hasattr(np.ndarray, "ptp"), reason="Brian2 2.9 does not import with NumPy 2.4 or newer")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("theirs", "ours"), [(brian2_pair_stdp, our_pair), (brian2_triplet, our_triplet)])
def test_traces_restart_as_if_brian2_ran_each_document_alone(
    theirs: Callable, ours: Callable, spikes: tuple[torch.Tensor, torch.Tensor]
):
    start = 83
    pre_TS, post_TU = (train[0].numpy() for train in spikes)
    expected = theirs(pre_TS[:start], post_TU[:start]) + theirs(pre_TS[start:], post_TU[start:])
    torch.testing.assert_close(ours(spikes, (start,)), torch.from_numpy(expected), rtol=0.0, atol=1e-9)
    assert not torch.allclose(ours(spikes), torch.from_numpy(expected), rtol=0.0, atol=1e-3)
