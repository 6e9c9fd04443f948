"""Sums of outer products: every backend equals the reference, for any size; the kernel asks for whole vectors."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.kernels.vectors import WIDE_LANES
from mambrane.ops.sum_of_outer_products import sum_of_outer_products
from tests.ops.tolerances import RATIO, assert_close


def make_factors(rows, outputs, inputs):
    generator = make_generator(0, "outer products")
    return torch.randn(rows, outputs, generator=generator), torch.randn(rows, inputs, generator=generator)


# oneDNN copies the smaller factor: the left one, or the right one.
@pytest.mark.parametrize("backend", ["numba", "onednn"])
@pytest.mark.parametrize(("rows", "outputs"), [(1, 1), (7, 130), (300, 33), (300, 7)])
def test_a_backend_equals_the_reference(backend, rows, outputs):
    left_BO, right_BI = make_factors(rows, outputs, 2 * WIDE_LANES)
    reference = sum_of_outer_products(left_BO, right_BI, backend="reference")
    assert_close("sum", reference, sum_of_outer_products(left_BO, right_BI, backend=backend), RATIO[torch.float32])


def test_what_is_not_whole_vectors_wide_is_left_to_onednn():
    factors = make_factors(5, 3, WIDE_LANES + 1)
    assert torch.equal(sum_of_outer_products(*factors), sum_of_outer_products(*factors, backend="onednn"))
    with pytest.raises(UserError, match=f"not {WIDE_LANES} numbers wide"):
        sum_of_outer_products(*factors, backend="numba")


@pytest.mark.parametrize("inputs", [WIDE_LANES, WIDE_LANES + 1])
def test_the_counter_of_torch_counts_its_operations(inputs):
    factors = make_factors(5, 3, inputs)
    with FlopCounterMode(display=False) as counter:
        sum_of_outer_products(*factors)
    assert counter.get_total_flops() == 2 * 5 * 3 * inputs
