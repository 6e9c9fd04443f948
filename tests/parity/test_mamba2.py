"""Mamba version 2 agrees with Hugging Face's, forward and backward, under the same parameter names."""

import copy

import pytest
import torch
from torch import nn

from mambrane.layers.mamba2 import Mamba2

transformers = pytest.importorskip("transformers", reason="pip install -r requirements/parity.txt")
pytestmark = pytest.mark.peer

VOCAB_SIZE, DIM, EXPAND, D_STATE, D_CONV = 65, 64, 3, 16, 4


class OursInTheirPlace(nn.Module):
    """Our mixer behind the signature of theirs."""

    def __init__(self, theirs):
        super().__init__()
        self.ours = Mamba2(DIM, expand=EXPAND, d_state=D_STATE, d_conv=D_CONV)
        self.ours.load_state_dict(theirs.state_dict())

    def forward(self, hidden_states, cache_params=None, attention_mask=None):
        assert cache_params is None
        return self.ours(hidden_states)[0]


@pytest.fixture(scope="module")
def peer():
    config = transformers.Mamba2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=DIM,
        expand=EXPAND,
        head_dim=64,
        num_heads=DIM * EXPAND // 64,
        n_groups=1,
        state_size=D_STATE,
        conv_kernel=D_CONV,
        num_hidden_layers=2,
        chunk_size=32,
        use_cache=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Mamba2ForCausalLM(config).eval()
        with torch.no_grad():
            # Away from values at which a missing factor or bias would not show.
            for layer in model.backbone.layers:
                for parameter in (layer.mixer.D, layer.mixer.norm.weight, layer.mixer.conv1d.bias):
                    parameter.normal_(1.0, 0.3)
    return model


@pytest.fixture(scope="module")
def with_ours(peer):
    model = copy.deepcopy(peer)
    for layer in model.backbone.layers:
        layer.mixer = OursInTheirPlace(layer.mixer)
    return model


def random_tokens(length):
    return torch.randint(0, VOCAB_SIZE, (2, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("length", [1, 37, 100])
@torch.no_grad()
def test_logits_agree(peer, with_ours, length):
    theirs, ours = (model(random_tokens(length), use_cache=False).logits for model in (peer, with_ours))
    assert (theirs - ours).abs().max() < 1e-5 * theirs.abs().max()


def test_gradients_agree(peer, with_ours):
    for model in (peer, with_ours):
        model.zero_grad()
        model(random_tokens(70), use_cache=False).logits.square().mean().backward()
    ours = {name.replace("mixer.ours.", "mixer."): p.grad for name, p in with_ours.named_parameters()}
    for name, parameter in peer.named_parameters():
        assert (parameter.grad - ours.pop(name)).abs().max() < 1e-4 * parameter.grad.abs().max(), name
    assert ours == {}


@torch.no_grad()
def test_single_steps_agree_with_their_prefill(peer):
    theirs = peer.backbone.layers[0].mixer
    ours = OursInTheirPlace(theirs).ours
    u_BTD = torch.randn(2, 9, DIM, generator=torch.Generator().manual_seed(3))
    expected, state = theirs(u_BTD), None
    for t in range(9):
        y, state = ours(u_BTD[:, t : t + 1], state=state)
        assert (y[:, 0] - expected[:, t]).abs().max() < 1e-5 * expected.abs().max()
