"""Our LTC cell against LTCCell of ncps 1.0.1: the same states and gradients for the same weights.

It is asked for positive weights by softplus, its layer's default; there is no output mapping here.
"""

import pytest
import torch
import torch.nn.functional as F

from mambrane.core.seeding import make_generator
from mambrane.ops.ltc import LtcWeights, ltc

pytestmark = pytest.mark.peer

BATCH, TOKENS, INPUTS, UNITS = 4, 11, 5, 6
BACKENDS = ["reference", "numba"]
POSITIVE = ("sensory_w", "w", "cm", "gleak")
THEIR_NAMES = {"input_weight": "input_w", "input_bias": "input_b"}


@pytest.fixture
def peer(ncps, peer_seed):
    return ncps.LTC(INPUTS, UNITS, output_mapping=None).double()


def free_parameters(cell) -> list[torch.Tensor]:
    return [getattr(cell, THEIR_NAMES.get(name, name)) for name in LtcWeights._fields]


def copy_weights(cell) -> LtcWeights:
    named = zip(LtcWeights._fields, free_parameters(cell), strict=True)
    return LtcWeights(*(F.softplus(free) if name in POSITIVE else free for name, free in named))


def draw(*shape):
    return torch.randn(*shape, generator=make_generator(1, "parity", *shape)).double().requires_grad_()


def gradients(hidden_BTL, state_BL, leaves):
    return torch.autograd.grad((hidden_BTL * draw(*hidden_BTL.shape)).sum() + state_BL.square().sum(), leaves)


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_and_gradients_are_those_of_ncps(peer, backend):
    x_BTI, state_BL = draw(BATCH, TOKENS, INPUTS), draw(BATCH, UNITS)
    leaves = [x_BTI, state_BL, *free_parameters(peer.rnn_cell)]
    theirs = peer(x_BTI, state_BL)
    ours = ltc(x_BTI, copy_weights(peer.rnn_cell), state_BL=state_BL, backend=backend)
    torch.testing.assert_close(ours.hidden_BTL, theirs[0])
    torch.testing.assert_close(ours.state_BL, theirs[1])
    torch.testing.assert_close(gradients(*ours, leaves), gradients(*theirs, leaves))


@pytest.mark.parametrize("per_unit", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_elapsed_time_means_what_it_means_in_ncps(peer, backend, per_unit):
    """Step by step: its layer squeezes the times to [B], which do not divide [L]."""
    x_BTI = draw(BATCH, TOKENS, INPUTS)
    elapsed = draw(BATCH, TOKENS, UNITS if per_unit else 1).detach().exp().requires_grad_()
    leaves = [x_BTI, elapsed, *free_parameters(peer.rnn_cell)]
    state_BL, hidden = torch.zeros(BATCH, UNITS, dtype=torch.float64), []
    for t in range(TOKENS):
        _, state_BL = peer.rnn_cell(x_BTI[:, t], state_BL, elapsed[:, t])
        hidden.append(state_BL)
    theirs = torch.stack(hidden, dim=1), state_BL
    ours = ltc(
        x_BTI,
        copy_weights(peer.rnn_cell),
        elapsed_BT=elapsed if per_unit else elapsed[..., 0],
        backend=backend,
    )
    torch.testing.assert_close(ours.hidden_BTL, theirs[0])
    torch.testing.assert_close(gradients(*ours, leaves), gradients(*theirs, leaves))
