"""The pair rule against Brian2's event-driven pair STDP on the same spike trains."""

import numpy as np
import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.plasticity import rules

NUM_TICKS, NUM_PRE, NUM_POST = 200, 6, 5
TAU_PLUS, TAU_MINUS, A_MINUS = 20.0, 14.0, 0.8

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


def changes_by_the_pair_rule(spikes: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    pre, post = (train.to(dtype) for train in spikes)
    no_resets = torch.zeros(1, NUM_TICKS, dtype=torch.bool)
    trains = rules.Trains([pre], [post], no_resets, tau_plus_ticks=TAU_PLUS, tau_minus_ticks=TAU_MINUS)
    change = rules.pair(trains, a_minus=A_MINUS)
    return (change.potentiation_NUS - change.depression_NUS)[0].double()


@pytest.mark.peer
@pytest.mark.skipif(not hasattr(np.ndarray, "ptp"), reason="Brian2 2.9 does not import with NumPy 2.4 or newer")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pair_rule_agrees_with_brian2_on_the_same_spikes(spikes: tuple[torch.Tensor, torch.Tensor]):
    expected = torch.from_numpy(brian2_pair_stdp(spikes[0][0].numpy(), spikes[1][0].numpy()))
    torch.testing.assert_close(changes_by_the_pair_rule(spikes, torch.float64), expected, rtol=0.0, atol=1e-10)
    # The recorded answer of the next test is this one.
    torch.testing.assert_close(torch.tensor(BRIAN2_ANSWER, dtype=torch.float64), expected, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "ratio"), [(torch.float64, 1e-10), (torch.float32, FLOAT32_RATIO)])
def test_pair_rule_agrees_with_the_recorded_answer_of_brian2(
    spikes: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype, ratio: float
):
    expected = torch.tensor(BRIAN2_ANSWER, dtype=torch.float64)
    scale = expected.abs().max().item()
    torch.testing.assert_close(changes_by_the_pair_rule(spikes, dtype), expected, rtol=0.0, atol=ratio * scale)
