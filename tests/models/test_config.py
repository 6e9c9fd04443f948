"""A pattern of blocks is data: repeated over the layers, and refused where it names what is not there."""

import pytest

from mambrane.core.errors import UserError
from mambrane.models.config import ModelConfig


@pytest.mark.parametrize(
    ("pattern", "num_layers", "kinds"),
    [
        ("hybrid", 3, ("hybrid", "hybrid", "hybrid")),
        ("hybrid,mamba", 5, ("hybrid", "mamba", "hybrid", "mamba", "hybrid")),
        ("mamba2,mamba,hybrid", 3, ("mamba2", "mamba", "hybrid")),
    ],
)
def test_a_pattern_is_repeated_over_the_layers(pattern, num_layers, kinds):
    assert ModelConfig(block_pattern=pattern, num_layers=num_layers).block_kinds == kinds


@pytest.mark.parametrize(
    "pattern", ["hybird", "", "hybrid,", "hybrid, mamba", "__init__", "hybrid,mamba;mamba", "Mamba"]
)
def test_a_name_that_is_no_kind_of_block_is_refused_with_those_that_are(pattern):
    with pytest.raises(UserError, match="hybrid, mamba, mamba2"):
        ModelConfig(block_pattern=pattern)


def test_names_that_no_layer_would_have_are_refused():
    with pytest.raises(UserError, match="3 names for --num-layers 2"):
        ModelConfig(block_pattern="hybrid,mamba,mamba", num_layers=2)
