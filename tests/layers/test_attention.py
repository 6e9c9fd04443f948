"""Cross-attention against a softmax written out by hand."""

import math

import pytest
import torch

from mambrane.layers.attention import WindowedCrossAttention


def make_attention(window):
    """Return one head of width 2 whose query is the input, key twice the input, value thrice, output the identity."""
    attention = WindowedCrossAttention(2, 2, 2, inner=2, heads=1, window=window)
    eye = torch.eye(2)
    with torch.no_grad():
        attention.query.weight.copy_(eye)
        attention.key_value.weight.copy_(torch.cat([2 * eye, 3 * eye]))
        attention.output.weight.copy_(eye)
    return attention


ASKING = torch.tensor([[[1.0, 0.0], [0.5, 1.0], [-1.0, 2.0]]])
ANSWERING = torch.tensor([[[0.2, 0.1], [-0.3, 0.4], [0.7, -0.5]]])


@pytest.mark.parametrize("window", [2, 3])
@torch.no_grad()
def test_a_token_reads_the_last_tokens_of_the_other_path_by_scaled_softmax(window):
    read, _ = make_attention(window)(ASKING, ANSWERING)
    for t in range(3):
        seen = range(max(0, t - window + 1), t + 1)
        scores = [
            math.exp(sum(ASKING[0, t, i].item() * 2 * ANSWERING[0, j, i].item() for i in range(2)) / math.sqrt(2))
            for j in seen
        ]
        for i in range(2):
            weighted = sum(s * 3 * ANSWERING[0, j, i].item() for s, j in zip(scores, seen, strict=True))
            assert read[0, t, i].item() == pytest.approx(weighted / sum(scores), abs=1e-5)


@torch.no_grad()
def test_heads_own_slices_of_the_width():
    attention = WindowedCrossAttention(2, 2, 2, inner=2, heads=2, window=2)
    for layer, weight in (
        (attention.query, torch.eye(2)),
        (attention.key_value, torch.cat([torch.eye(2), torch.eye(2)])),
        (attention.output, torch.eye(2)),
    ):
        layer.weight.copy_(weight)
    read, _ = attention(ASKING[:, :2], ANSWERING[:, :2])
    for head in range(2):
        query, keys = ASKING[0, 1, head].item(), ANSWERING[0, :2, head].tolist()
        scores = [math.exp(query * key) for key in keys]
        expected = sum(s * key for s, key in zip(scores, keys, strict=True)) / sum(scores)
        assert read[0, 1, head].item() == pytest.approx(expected, abs=1e-5)
