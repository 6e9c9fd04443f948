"""Decays of steered neurons: the kernel equals the reference, forward and backward, and stays between its bounds."""

import math

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.steered_decay import steered_decay
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(batch, tokens, units, dtype=torch.float32):
    generator = make_generator(0, "decay")
    shapes = {"heard_BTP": (batch, tokens, units), "weight_P": (units,), "log_tau_P": (units,)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def as_tuple(**inputs):
    return (steered_decay(**inputs),)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "tokens", "units"), [(1, 1, 1), (2, 33, 7), (3, 50, 130)])
def test_kernel_equals_reference_forward_and_backward(batch, tokens, units, dtype):
    inputs = make_inputs(batch, tokens, units, dtype)
    reference = outputs_and_gradients(as_tuple, inputs, backend="reference")
    got = outputs_and_gradients(as_tuple, inputs, backend="numba")
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_no_weight_leaves_the_time_constant_and_a_large_one_takes_or_adds_half():
    heard_BTP = torch.tensor([0.0, 1.0, -1.0]).reshape(1, 3, 1)
    for weight, factors in ((0.0, (1.0, 1.0, 1.0)), (1e4, (1.0, 1.5, 0.5))):
        decay = steered_decay(heard_BTP, torch.tensor([weight]), torch.tensor([math.log(3.0)]))
        assert decay.flatten().tolist() == pytest.approx([math.exp(-1 / (3 * factor)) for factor in factors], rel=1e-6)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(4, 100, 40)
    found = []
    for threads in (1, 3):
        num_threads(threads)
        found.append(outputs_and_gradients(as_tuple, inputs))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
