"""Softplus: the kernel equals the reference, forward and backward, small numbers in proportion."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.softplus import softplus
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def as_tuple(**inputs):
    return (softplus(**inputs),)


def both(x):
    return (outputs_and_gradients(as_tuple, {"x": x}, backend=backend) for backend in ("reference", "numba"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 70, 130)], ids=str)
def test_kernel_equals_reference_forward_and_backward(shape, dtype):
    reference, got = both(torch.randn(shape, generator=make_generator(0, "softplus")).to(dtype))
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_small_steps_are_right_in_proportion():
    reference, got = both(torch.linspace(-40, 40, 161))
    for name in reference:
        torch.testing.assert_close(got[name], reference[name], rtol=1e-6, atol=1e-7 if "gradient" in name else 0)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    x = torch.randn(70_000, generator=make_generator(0, "softplus"))
    found = []
    for threads in (1, 3):
        num_threads(threads)
        found.append(outputs_and_gradients(as_tuple, {"x": x}))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
