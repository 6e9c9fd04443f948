"""In float32, the type that is trained in: a text in pieces and token by token gives the bits of the whole.

The exception is one row alone, a single token of a batch of one: its matrix products round in their own way.
"""

import pytest
import torch

from mambrane.models.config import ModelConfig
from tests.models.modes import SMALL, all_modes, build_awake, describe, random_tokens

NUM_TOKENS = 19
# Every combination would take minutes; each part of a mode is in one of these.
MODES = [config for n, config in enumerate(all_modes()) if config.mamba_version == 2 or n % 9 == 8]
TORCH = tuple(map(int, torch.__version__.split(".")[:2]))
CUTS = {"pieces": (1, 9, 14), "steps": tuple(range(1, NUM_TOKENS))}


# With torch 2.9.0 pieces agree to rounding: products of torch's own depend there on how many rows there are.
@pytest.mark.skipif(TORCH < (2, 13), reason="bits of pieces rest on the products of torch 2.13")
@pytest.mark.parametrize("config", MODES, ids=describe)
@torch.no_grad()
def test_pieces_and_steps_give_the_bits_of_the_whole_in_every_mode(config):
    model, tokens_BT = build_awake(config).float(), random_tokens(3, NUM_TOKENS)
    resets_BT = torch.zeros(tokens_BT.shape, dtype=torch.bool)
    resets_BT[0, 5] = resets_BT[2, 15] = True
    whole = model(tokens_BT, resets_BT=resets_BT).logits_BTV
    for name, cuts in CUTS.items():
        parts, state = [], None
        for start, stop in zip((0, *cuts), (*cuts, NUM_TOKENS), strict=True):
            output = model(tokens_BT[:, start:stop], state=state, resets_BT=resets_BT[:, start:stop])
            parts.append(output.logits_BTV)
            state = output.state
        assert torch.equal(torch.cat(parts, dim=1), whole), name


@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_single_steps_of_a_batch_of_one_give_the_whole_within_rounding(version):
    config = ModelConfig(**SMALL, use_mamba=True, mamba_version=version, use_adaptive_gating=True)
    model, tokens_BT = build_awake(config).float(), random_tokens(1, NUM_TOKENS)
    whole, state = model(tokens_BT).logits_BTV, None
    for t in range(NUM_TOKENS):
        output = model(tokens_BT[:, t : t + 1], state=state)
        state = output.state
        torch.testing.assert_close(output.logits_BTV[:, 0], whole[:, t], rtol=0, atol=3e-6)
