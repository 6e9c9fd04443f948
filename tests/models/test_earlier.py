"""Weights of a block that is no more are refused by name, with the version that reads them."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.models.config import ModelConfig
from tests.models.modes import SMALL, build_awake


def test_weights_of_the_two_path_block_are_refused_with_the_version_that_reads_them():
    model = build_awake(ModelConfig(**SMALL, use_mamba=True))
    weights = {**model.state_dict(), "blocks.1.fusion.bias": torch.zeros(4)}
    with pytest.raises(UserError, match=r"blocks\.1\.fusion\.bias") as raised:
        model.load_state_dict(weights)
    assert "commit 1d247ad7" in str(raised.value)


def test_weights_of_a_spiking_model_are_read_as_ever():
    model, other = build_awake(ModelConfig(**SMALL)), build_awake(ModelConfig(**SMALL), seed=1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.blocks[0].readout.weight, model.blocks[0].readout.weight)
