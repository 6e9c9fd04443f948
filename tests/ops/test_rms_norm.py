"""The norm: every backend equals the reference, forward and backward."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.rms_norm import rms_norm
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(*shape, weight=True, dtype=torch.float32):
    generator = make_generator(0, "rms norm")
    inputs = {"x": torch.randn(shape, generator=generator).to(dtype)}
    return inputs | ({"weight_D": torch.randn(shape[-1], generator=generator).to(dtype)} if weight else {})


def as_tuple(**inputs):
    return (rms_norm(**inputs),)


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 2), (2, 33, 7), (3, 70, 130), (200, 64)], ids=str)
def test_kernel_equals_reference_forward_and_backward(shape, dtype, weight):
    inputs = make_inputs(*shape, weight=weight, dtype=dtype)
    reference, got = (outputs_and_gradients(as_tuple, inputs, backend=backend) for backend in ("reference", "numba"))
    assert reference.keys() == got.keys()
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_it_is_the_norm_of_torch():
    inputs = make_inputs(4, 9, 24)
    layer = torch.nn.RMSNorm(24, eps=1e-5)
    with torch.no_grad():
        layer.weight.copy_(inputs["weight_D"])
    assert_close("y", layer(inputs["x"]), rms_norm(**inputs), RATIO[torch.float32])


def test_eps_keeps_a_row_of_zeros_finite():
    assert torch.equal(rms_norm(torch.zeros(2, 5)), torch.zeros(2, 5))


def test_a_row_does_not_depend_on_the_others():
    inputs = make_inputs(3, 50, 40)
    whole = rms_norm(**inputs)
    assert torch.equal(rms_norm(inputs["x"][1:2, 7:8], inputs["weight_D"]), whole[1:2, 7:8])


def test_any_strides_give_the_numbers_of_their_copies():
    inputs = make_inputs(5, 6, 8)
    strided = inputs["x"].transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(rms_norm(strided, inputs["weight_D"]), rms_norm(**inputs))


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(4, 200, 96)
    found = []
    for threads in (1, 2, 3):
        num_threads(threads)
        found.append(outputs_and_gradients(as_tuple, inputs))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)
