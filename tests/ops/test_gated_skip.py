"""Skip and gate: the kernel equals the reference, forward and backward."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.gated_skip import gated_skip
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(batch, tokens, channels, dtype=torch.float32):
    generator = make_generator(0, "gated skip")
    shapes = {"y_BTE": (batch, tokens, channels), "x_BTE": (batch, tokens, channels), "skip_E": (channels,)}
    shapes["gate_BTE"] = (batch, tokens, channels)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def as_tuple(**inputs):
    return (gated_skip(**inputs),)


def both(inputs):
    return (outputs_and_gradients(as_tuple, inputs, backend=backend) for backend in ("reference", "numba"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "tokens", "channels"), [(1, 1, 1), (2, 33, 7), (3, 70, 130)])
def test_kernel_equals_reference_forward_and_backward(batch, tokens, channels, dtype):
    reference, got = both(make_inputs(batch, tokens, channels, dtype))
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_large_gates_open_and_close_without_overflow():
    inputs = make_inputs(1, 2, 3)
    inputs["gate_BTE"] = torch.tensor([-1e4, 0.0, 1e4]).expand(1, 2, 3)
    reference, got = both(inputs)
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[torch.float32])


def test_any_strides_give_the_numbers_of_their_copies():
    inputs = make_inputs(2, 9, 6)
    strided = dict(inputs, gate_BTE=torch.cat([inputs["gate_BTE"]] * 2, dim=-1)[..., :6])
    strided["y_BTE"] = inputs["y_BTE"].transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(gated_skip(**strided), gated_skip(**inputs))


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(4, 200, 96)
    found = []
    for threads in (1, 2, 3):
        num_threads(threads)
        found.append(outputs_and_gradients(as_tuple, inputs))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)
