"""Mamba agrees with Hugging Face's, forward and backward, and loads its weights."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.models.published import from_published

transformers = pytest.importorskip("transformers", reason="pip install -r requirements/parity.txt")
pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def peer():
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=65, hidden_size=48, state_size=8, num_hidden_layers=3)
    return transformers.MambaForCausalLM(config).eval()


def test_logits_agree(peer):
    model = from_published(peer.state_dict())
    tokens = torch.randint(0, 65, (2, 37), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs, ours = peer(tokens).logits, model(tokens).logits_BTV
    assert (theirs - ours).abs().max() < 1e-5 * theirs.abs().max()


def test_gradients_agree(peer):
    model = from_published(peer.state_dict())
    tokens = torch.randint(0, 65, (2, 19), generator=torch.Generator().manual_seed(2))
    peer.zero_grad()
    peer(tokens).logits.square().mean().backward()
    model(tokens).logits_BTV.square().mean().backward()
    for layer, block in zip(peer.backbone.layers, model.blocks, strict=True):
        ours = dict(block.mixer.named_parameters())
        for name, parameter in layer.mixer.named_parameters():
            assert (parameter.grad - ours[name].grad).abs().max() < 1e-4 * parameter.grad.abs().max(), name


def test_weights_under_the_names_of_the_original_load_too(peer):
    original = {name.replace("backbone.embeddings.", "backbone.embedding."): w for name, w in peer.state_dict().items()}
    tokens = torch.zeros(1, 5, dtype=torch.long)
    with torch.no_grad():
        assert torch.equal(from_published(original)(tokens)[0], from_published(peer.state_dict())(tokens)[0])


def test_weights_of_another_model_are_refused():
    with pytest.raises(UserError, match="hold no tensor"):
        from_published({"transformer.wte.weight": torch.zeros(3, 3)})
