"""The block with signed counts is the ternary one with more levels; what both promise is in test_ternary."""

import torch

from mambrane.models.blocks import counts, ternary
from mambrane.models.config import ModelConfig


def test_it_has_more_levels_and_loses_less_of_what_the_products_read():
    config = ModelConfig(block_pattern="counts", hidden_dim=32, num_layers=1)
    blocks = [kind.build(config) for kind in (ternary, counts)]
    assert [block.levels for block in blocks] == [1, counts.LEVELS]
    blocks[1].load_state_dict(blocks[0].state_dict())
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0))
    rates = [block(x)[2].first_rate for block in blocks]
    assert rates[0] < 1 < rates[1]
