"""Our CfC cell against CfCCell of ncps 1.0.1: the same states and gradients for the same weights."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.cfc import CfcWeights, cfc

pytestmark = pytest.mark.peer

BATCH, TOKENS, INPUTS, UNITS, BACKBONE_UNITS = 4, 11, 5, 6, 9
BACKENDS = ["reference", "numba"]


@pytest.fixture
def peer(ncps, peer_seed):
    return ncps.CfC(INPUTS, UNITS, backbone_units=BACKBONE_UNITS).double()


def copy_weights(cell) -> CfcWeights:
    layers = (cell.backbone[0], cell.ff1, cell.ff2, cell.time_a, cell.time_b)
    return CfcWeights(*(tensor for layer in layers for tensor in (layer.weight, layer.bias)))


def draw(*shape):
    return torch.randn(*shape, generator=make_generator(1, "parity", *shape)).double().requires_grad_()


def gradients(hidden_BTL, state_BL, leaves):
    return torch.autograd.grad((hidden_BTL * draw(*hidden_BTL.shape)).sum() + state_BL.square().sum(), leaves)


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_and_gradients_are_those_of_ncps(peer, backend):
    x_BTI, state_BL = draw(BATCH, TOKENS, INPUTS), draw(BATCH, UNITS)
    weights = copy_weights(peer.rnn_cell)
    leaves = [x_BTI, state_BL, *weights]
    theirs, ours = peer(x_BTI, state_BL), cfc(x_BTI, weights, state_BL=state_BL, backend=backend)
    torch.testing.assert_close(ours.hidden_BTL, theirs[0])
    torch.testing.assert_close(ours.state_BL, theirs[1])
    torch.testing.assert_close(gradients(*ours, leaves), gradients(*theirs, leaves))


@pytest.mark.parametrize("per_unit", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_elapsed_time_means_what_it_means_in_ncps(peer, backend, per_unit):
    """Step by step: its layer squeezes the times to [B], which do not multiply [B, L]."""
    x_BTI = draw(BATCH, TOKENS, INPUTS)
    elapsed = draw(BATCH, TOKENS, UNITS if per_unit else 1).detach().exp().requires_grad_()
    weights = copy_weights(peer.rnn_cell)
    leaves = [x_BTI, elapsed, *weights]
    state_BL, hidden = torch.zeros(BATCH, UNITS, dtype=torch.float64), []
    for t in range(TOKENS):
        _, state_BL = peer.rnn_cell(x_BTI[:, t], state_BL, elapsed[:, t])
        hidden.append(state_BL)
    theirs = torch.stack(hidden, dim=1), state_BL
    ours = cfc(x_BTI, weights, elapsed_BT=elapsed if per_unit else elapsed[..., 0], backend=backend)
    torch.testing.assert_close(ours.hidden_BTL, theirs[0])
    torch.testing.assert_close(gradients(*ours, leaves), gradients(*theirs, leaves))
