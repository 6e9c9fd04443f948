"""The plain block of Mamba, version 1."""

import pytest

from tests.models.blocks import plain_block


@pytest.mark.parametrize("check", [plain_block.check_formula, plain_block.check_sizes, plain_block.check_declarations])
def test_it_is_the_input_and_its_mixer_with_the_sizes_and_the_names_that_it_says(check):
    check("mamba")
