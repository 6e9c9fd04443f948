"""Our leaky integrate-and-fire neuron against those of snnTorch, SpikingJelly and Norse: the same spikes, bit by bit.

Which settings mean the same (theta threshold, ours on the left):

    reset "zero"                   snnTorch "zero" with reset_delay=False; SpikingJelly v_reset=0; Norse reset_value
    reset "zero", detach_reset     snnTorch "zero" (its reset is detached when it comes a step late); SpikingJelly
                                   v_reset=0, detach_reset
    reset "subtract"               SpikingJelly v_reset=None; Norse reset_subtract; snnTorch "subtract" with
                                   reset_delay=False as long as no membrane stays above theta after the reset (there it
                                   subtracts once for two spikes)
    no setting                     snnTorch's default "subtract": it takes theta off one step later, after the decay,
                                   which is theta / decay in our form; the last test shows that this is all

    current i                      SpikingJelly with decay_input divides it by tau = 1 / (1 - decay); Norse likewise
    fast_sigmoid, slope k          snnTorch fast_sigmoid(k); SpikingJelly 2 / k SoftSign(k); Norse 1.1.0 "super" has
                                   slope 1 whatever its alpha is
    atan, slope k                  snnTorch atan(k); SpikingJelly ATan(k)

snnTorch and Norse fire above theta, SpikingJelly and we at theta: the inputs keep away from it. Decay and threshold are
exact in float32, which the peers keep them in.
"""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.lif import lif

pytestmark = pytest.mark.peer

BATCH, TOKENS, UNITS = 3, 60, 7
DECAY, THRESHOLD = 0.875, 1.0
TAU = 1.0 / (1.0 - DECAY)
# float64 on both sides; a gradient is a sum of up to 60 products.
GRADIENT_RATIO = 1e-12
# snnTorch's spikes are float32 whatever the membrane is, and so are the gradients that come back through the reset.
SNNTORCH_RATIO = 1e-6


def make_current(*, largest: float = 2.0) -> torch.Tensor:
    generator = make_generator(3, "current")
    current_BTS = torch.rand(BATCH, TOKENS, UNITS, generator=generator, dtype=torch.float64) * (largest + 0.5) - 0.5
    return current_BTS.requires_grad_()


def weigh(spikes_BTS: torch.Tensor) -> torch.Tensor:
    """A scalar that hangs on every spike differently."""
    return (spikes_BTS * torch.randn(spikes_BTS.shape, generator=make_generator(4, "weights")).double()).sum()


def run_ours(current_BTS, **options):
    decay_S = torch.full((UNITS,), DECAY, dtype=torch.float64)
    output = lif(current_BTS, decay_S, threshold=THRESHOLD, keep_membranes=True, **options)
    assert (output.membrane_BTS - THRESHOLD).abs().min() > 1e-6, "a tie: choose other inputs"
    assert 0.05 < output.spikes_BTS.mean() < 0.95
    return output


def run_steps(step, current_BTS):
    """Run a peer that makes one step, (current, state) -> (spikes, state), over all tokens."""
    state, spikes, states = None, [], []
    for t in range(TOKENS):
        spikes_BS, state = step(current_BTS[:, t], state)
        spikes.append(spikes_BS)
        states.append(state)
    return torch.stack(spikes, dim=1), states


def assert_same_spikes_and_gradients(current_BTS, ours_BTS, theirs_BTS, ratio=GRADIENT_RATIO):
    assert torch.equal(ours_BTS, theirs_BTS)
    (expected_BTS,) = torch.autograd.grad(weigh(theirs_BTS), current_BTS)
    (got_BTS,) = torch.autograd.grad(weigh(ours_BTS), current_BTS)
    assert expected_BTS.abs().max() > 0
    difference = (got_BTS - expected_BTS).abs().max() / expected_BTS.abs().max()
    assert difference.item() <= ratio


def snntorch_leaky(snntorch, surrogate="fast_sigmoid", slope=5.0, **options):
    from snntorch import surrogate as surrogates

    spike = surrogates.fast_sigmoid(slope) if surrogate == "fast_sigmoid" else surrogates.atan(slope)
    return snntorch.Leaky(beta=DECAY, threshold=THRESHOLD, spike_grad=spike, **options)


@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "atan"])
@pytest.mark.parametrize("is_delayed", [False, True])
def test_reset_to_zero_is_snntorchs(snntorch, is_delayed, surrogate):
    current_BTS = make_current()
    neuron = snntorch_leaky(snntorch, surrogate, reset_mechanism="zero", reset_delay=is_delayed)
    theirs_BTS, _ = run_steps(neuron, current_BTS)
    ours = run_ours(current_BTS, reset="zero", detach_reset=is_delayed, surrogate=surrogate)
    assert_same_spikes_and_gradients(current_BTS, ours.spikes_BTS, theirs_BTS, SNNTORCH_RATIO)


@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "atan"])
def test_reset_by_subtraction_is_snntorchs_without_delay(snntorch, surrogate):
    current_BTS = make_current(largest=0.95)
    neuron = snntorch_leaky(snntorch, surrogate, reset_mechanism="subtract", reset_delay=False)
    theirs_BTS, membranes = run_steps(neuron, current_BTS)
    assert max(after_BS.max() for after_BS in membranes) < THRESHOLD
    ours = run_ours(current_BTS, reset="subtract", surrogate=surrogate)
    assert_same_spikes_and_gradients(current_BTS, ours.spikes_BTS, theirs_BTS, SNNTORCH_RATIO)


@pytest.mark.parametrize("divides_input", [False, True])
@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "atan"])
@pytest.mark.parametrize("is_detached", [False, True])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_every_reset_is_spikingjellys(spikingjelly, reset, is_detached, surrogate, divides_input):
    from spikingjelly.activation_based import neuron
    from spikingjelly.activation_based import surrogate as surrogates

    scale = TAU if divides_input else 1.0
    current_BTS = make_current()
    peer = neuron.LIFNode(
        tau=TAU,
        decay_input=divides_input,
        v_threshold=THRESHOLD,
        v_reset=0.0 if reset == "zero" else None,
        surrogate_function=surrogates.SoftSign(2.0) if surrogate == "fast_sigmoid" else surrogates.ATan(2.0),
        detach_reset=is_detached,
        step_mode="m",
        store_v_seq=True,
    )
    theirs_BTS = peer((current_BTS * scale).transpose(0, 1)).transpose(0, 1)
    ours = run_ours(current_BTS, reset=reset, detach_reset=is_detached, surrogate=surrogate, surrogate_slope=2.0)
    assert_same_spikes_and_gradients(current_BTS, ours.spikes_BTS, theirs_BTS)
    torch.testing.assert_close(ours.state_BS, peer.v_seq[-1])


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_every_reset_is_norses(norse, reset):
    from norse.torch.functional import lif_box
    from norse.torch.functional.reset import reset_subtract, reset_value

    parameters = lif_box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(1.0 / TAU, dtype=torch.float64),
        reset_method=reset_value if reset == "zero" else reset_subtract,
    )
    current_BTS = make_current()

    def step(current_BS, state):
        state = state or lif_box.LIFBoxFeedForwardState(v=torch.zeros_like(current_BS))
        return lif_box.lif_box_feed_forward_step(current_BS * TAU, state, parameters, dt=1.0)

    theirs_BTS, states = run_steps(step, current_BTS)
    ours = run_ours(current_BTS, reset=reset, surrogate_slope=1.0)
    assert_same_spikes_and_gradients(current_BTS, ours.spikes_BTS, theirs_BTS)
    torch.testing.assert_close(ours.state_BS, states[-1].v)


def test_snntorchs_default_differs_by_the_decay_of_what_it_subtracts_and_by_nothing_else(snntorch):
    current_BTS = make_current()
    theirs_BTS, membranes = run_steps(snntorch_leaky(snntorch), current_BTS)
    assert not torch.equal(run_ours(current_BTS).spikes_BTS, theirs_BTS)
    late_BTS = torch.zeros_like(theirs_BTS)
    late_BTS[:, 1:] = theirs_BTS[:, :-1].detach()
    ours = run_ours(current_BTS - (1.0 - DECAY) * THRESHOLD * late_BTS, detach_reset=True)
    assert_same_spikes_and_gradients(current_BTS, ours.spikes_BTS, theirs_BTS, SNNTORCH_RATIO)
    torch.testing.assert_close(ours.membrane_BTS, torch.stack(membranes, dim=1))


def test_the_gradient_of_the_decay_is_snntorchs(snntorch):
    current_BTS = make_current()
    neuron = snntorch.Leaky(
        beta=torch.full((UNITS,), DECAY, dtype=torch.float64),
        learn_beta=True,
        spike_grad=snntorch.surrogate.fast_sigmoid(5.0),
        reset_mechanism="zero",
        reset_delay=False,
    )
    theirs_BTS, _ = run_steps(neuron, current_BTS)
    weigh(theirs_BTS).backward()
    decay_S = torch.full((UNITS,), DECAY, dtype=torch.float64, requires_grad=True)
    weigh(lif(current_BTS, decay_S, reset="zero").spikes_BTS).backward()
    torch.testing.assert_close(decay_S.grad, neuron.beta.grad, rtol=SNNTORCH_RATIO, atol=0.0)
