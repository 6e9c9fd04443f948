"""The read-out of neurons: the kernel equals the reference, forward and backward, of one population and of two."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.spike_read_out import spike_read_out
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(batch, tokens, first, second, channels, dtype=torch.float32):
    generator = make_generator(0, "read-out")
    rows = {"q_BTE": channels, "spikes_BTS": first, "code_BTS": first, "second_BTP": second}
    shapes = {name: (batch, tokens, width) for name, width in rows.items() if width}
    shapes |= {"gate_R": (first + second,), "out_R": (first + second,)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def read_out(**inputs):
    return spike_read_out(**{"spikes_BTS": None, "code_BTS": None} | inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [(1, 2, 5, 3, 9), (2, 33, 7, 9, 40), (3, 50, 64, 20, 84), (2, 33, 0, 9, 12)], ids=str)
def test_kernel_equals_reference_forward_and_backward(sizes, dtype):
    inputs = make_inputs(*sizes, dtype)
    reference = outputs_and_gradients(read_out, inputs, backend="reference")
    got = outputs_and_gradients(read_out, inputs, backend="numba")
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(4, 100, 30, 20, 70)
    found = []
    for threads in (1, 3):
        num_threads(threads)
        found.append(outputs_and_gradients(read_out, inputs))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
