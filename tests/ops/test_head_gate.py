"""Gates of heads: the kernel equals the reference, forward and backward, for heads of any width."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.head_gate import head_gate
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(batch, tokens, heads, numbers, dtype=torch.float32):
    generator = make_generator(0, "head gate")
    shapes = {"path_BTD": (batch, tokens, heads * numbers), "u_BTD": (batch, tokens, heads * numbers)}
    shapes |= {"weight_HP": (heads, numbers), "bias_H": (heads,)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "tokens", "heads", "numbers"), [(1, 1, 1, 1), (2, 33, 3, 7), (3, 50, 2, 35)])
def test_kernel_equals_reference_forward_and_backward(batch, tokens, heads, numbers, dtype):
    inputs = make_inputs(batch, tokens, heads, numbers, dtype)
    reference = outputs_and_gradients(head_gate, inputs, backend="reference")
    got = outputs_and_gradients(head_gate, inputs, backend="numba")
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_a_gate_that_nothing_reads_has_no_gradient_of_its_own():
    inputs = {name: tensor.requires_grad_() for name, tensor in make_inputs(2, 9, 2, 5).items()}
    found = []
    for backend in ("reference", "numba"):
        gated_BTD, _ = head_gate(**inputs, backend=backend)
        found.append(torch.autograd.grad(gated_BTD.square().sum(), list(inputs.values())))
    for reference, got in zip(*found, strict=True):
        assert_close("gradient", reference, got, RATIO[torch.float32])


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(4, 100, 4, 16)
    found = []
    for threads in (1, 3):
        num_threads(threads)
        found.append(outputs_and_gradients(head_gate, inputs))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
