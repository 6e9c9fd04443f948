"""Padding changes no number: a text in a padded batch is the text alone."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.models.config import ModelConfig
from mambrane.models.padding import forward_padded
from tests.models.modes import SMALL, build_awake, random_tokens

CONFIG = ModelConfig(**SMALL, use_mamba=True, use_adaptive_gating=True, use_cross_attention=True)
MASKS = {
    "left": [[0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]],
    "between": [[1, 0, 1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 1, 1, 1, 0]],
}


@pytest.mark.parametrize("side", MASKS)
@torch.no_grad()
def test_a_padded_text_is_the_text_alone(side):
    model = build_awake(CONFIG)
    valid = torch.tensor(MASKS[side], dtype=torch.bool)
    tokens = random_tokens(2, 8)
    output = forward_padded(model, tokens, valid)
    next_token = random_tokens(2, 1, seed=1)[:, 0]
    after = model.step(next_token, output.state).logits_BTV
    for row in range(2):
        alone = model(tokens[row, valid[row]].unsqueeze(0))
        torch.testing.assert_close(output.logits_BTV[row, valid[row]], alone.logits_BTV[0], rtol=0, atol=1e-9)
        alone_after = model.step(next_token[row : row + 1], alone.state).logits_BTV
        torch.testing.assert_close(after[row : row + 1], alone_after, rtol=0, atol=1e-9)


@torch.no_grad()
def test_what_stands_at_padding_does_not_matter():
    model = build_awake(CONFIG)
    valid = torch.tensor(MASKS["between"], dtype=torch.bool)
    tokens = random_tokens(2, 8)
    noise = torch.where(valid, tokens, random_tokens(2, 8, seed=9))
    first, second = (forward_padded(model, t, valid).logits_BTV[valid] for t in (tokens, noise))
    assert torch.equal(first, second)


def test_a_row_without_tokens_is_refused():
    with pytest.raises(UserError, match="without tokens"):
        forward_padded(build_awake(CONFIG), random_tokens(2, 3), torch.tensor([[1, 1, 1], [0, 0, 0]], dtype=torch.bool))


@torch.no_grad()
def test_logits_come_back_to_the_places_of_their_tokens():
    """Blocks that write nothing leave logits that depend on one token each, so every place can be checked alone."""
    model = build_awake(CONFIG)
    for block in model.blocks:
        for product in (block.mixer.out_proj, block.spiking_reads_mamba.output, block.mamba_reads_spiking.output):
            product.weight.zero_()
    valid = torch.tensor(MASKS["between"], dtype=torch.bool)
    tokens = random_tokens(2, 8)
    embedding = model.embedding.weight
    logits_BTV = forward_padded(model, tokens, valid).logits_BTV
    for row, position in valid.nonzero().tolist():
        x = embedding[tokens[row, position]]
        expected = embedding @ (x / torch.sqrt(x.square().mean() + 1e-5) * model.norm.weight)
        torch.testing.assert_close(logits_BTV[row, position], expected)
