"""What a configuration alone makes."""

import torch

from mambrane.models.config import ModelConfig
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig, RunOptions

SMALL = ModelConfig(hidden_dim=16, num_layers=1, spiking_units=8, num_gate_heads=4)


def test_the_seed_decides_every_initial_weight():
    first, same, other = (build_model(RunConfig(model=SMALL, run=RunOptions(seed=s)), 257) for s in (1, 1, 2))
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_building_a_model_leaves_the_global_generator_as_it_is():
    before = torch.get_rng_state()
    build_model(RunConfig(model=SMALL), 11)
    assert torch.equal(torch.get_rng_state(), before)
