"""The norm is torch's in float32, and does not complain under bf16 autocast."""

import torch

from mambrane.core.seeding import make_generator
from mambrane.layers.norm import RmsNorm
from mambrane.models.config import ModelConfig
from tests.models.modes import SMALL, VOCAB_SIZE, random_tokens


def test_it_is_the_norm_of_torch():
    x = torch.randn(2, 3, 8, generator=make_generator(0, "x"))
    torch.testing.assert_close(RmsNorm(8)(x), torch.nn.RMSNorm(8, eps=1e-5)(x), rtol=1e-6, atol=1e-6)


def test_a_whole_model_runs_forward_and_backward_under_bf16_autocast_without_a_warning():
    from mambrane.models.language_model import LanguageModel

    config = ModelConfig(**SMALL, use_mamba=True, use_adaptive_gating=True, use_cross_attention=True)
    model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(random_tokens(2, 20)).logits_BTV
    assert logits.dtype is torch.float32
    logits.square().mean().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@torch.no_grad()
def test_three_and_four_are_divided_by_the_root_of_twelve_and_a_half():
    norm = RmsNorm(2)
    norm.weight.copy_(torch.tensor([1.0, 10.0]))
    expected = torch.tensor([[[3.0, 40.0]]]) / 12.5**0.5
    torch.testing.assert_close(norm(torch.tensor([[[3.0, 4.0]]])), expected)
