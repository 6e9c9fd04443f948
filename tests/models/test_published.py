"""The plain Mamba language model is its formula, and published weights find their places."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.layers.mamba import Mamba
from mambrane.models.published import from_published

D, VOCAB, LAYERS = 16, 11, 2


def published_weights():
    """Return weights as state-spaces/mamba names them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, mean=0.0):
        return mean + 0.3 * torch.randn(shape, generator=generator)

    weights = {"backbone.embedding.weight": normal(VOCAB, D), "backbone.norm_f.weight": normal(D, mean=1.0)}
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    for layer in range(LAYERS):
        weights[f"backbone.layers.{layer}.norm.weight"] = normal(D, mean=1.0)
        for name, parameter in Mamba(D, expand=2, d_state=3, d_conv=4, dt_rank=1).named_parameters():
            weights[f"backbone.layers.{layer}.mixer.{name}"] = normal(*parameter.shape)
    return weights


def rms_norm(x, weight):
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5) * weight


TOKENS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@torch.no_grad()
def test_logits_are_those_of_the_formula_with_the_published_weights():
    weights = published_weights()
    x = weights["backbone.embedding.weight"][TOKENS]
    for layer in range(LAYERS):
        prefix = f"backbone.layers.{layer}."
        mixer = Mamba(D, expand=2, d_state=3, d_conv=4, dt_rank=1)
        names = [name for name in weights if name.startswith(prefix + "mixer.")]
        mixer.load_state_dict({name.removeprefix(prefix + "mixer."): weights[name] for name in names})
        x = x + mixer(rms_norm(x, weights[prefix + "norm.weight"]))[0]
    expected = rms_norm(x, weights["backbone.norm_f.weight"]) @ weights["backbone.embedding.weight"].T
    torch.testing.assert_close(from_published(weights)(TOKENS).logits_BTV, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_names_of_hugging_face_mean_the_same():
    weights = published_weights()
    renamed = {name.replace("backbone.embedding.", "backbone.embeddings."): w for name, w in weights.items()}
    logits = [from_published(w)(TOKENS).logits_BTV for w in (weights, renamed)]
    assert torch.equal(*logits)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("backbone.layers.1.mixer.D"), "missing"),
        (lambda w: w.update({"backbone.layers.1.mixer.extra": torch.zeros(1)}), "unexpected"),
        (lambda w: w.pop("backbone.embedding.weight"), "hold no tensor"),
    ],
    ids=["one missing", "one too many", "no embedding"],
)
def test_tensors_that_are_missing_or_left_over_are_named(change, words):
    weights = published_weights()
    change(weights)
    with pytest.raises(UserError, match=words):
        from_published(weights)
