"""A number's sigmoid and softplus have the same bits in every company."""

import pytest
import torch
import torch.nn.functional as F

from mambrane.core.seeding import make_generator
from mambrane.layers.elementwise import WHOLE_VECTORS, sigmoid, softplus

FUNCTIONS = {"sigmoid": (sigmoid, torch.sigmoid), "softplus": (softplus, F.softplus)}
each = pytest.mark.parametrize(("ours", "torchs"), FUNCTIONS.values(), ids=FUNCTIONS)


@each
@pytest.mark.parametrize("units", [1, 2, 8, 34])
def test_a_row_alone_has_the_bits_that_it_has_among_others(ours, torchs, units):
    x_BTS = 4.0 * torch.randn(3, 50, units, generator=make_generator(0, "rows"))
    rows = [ours(x_BTS[:, t : t + 1]) for t in range(50)]
    assert torch.equal(torch.cat(rows, dim=1), ours(x_BTS))
    torch.testing.assert_close(ours(x_BTS), torchs(x_BTS))


def test_a_tensor_that_fills_its_vectors_has_the_sigmoid_of_torch_bit_for_bit():
    x = torch.randn(3, WHOLE_VECTORS, generator=make_generator(0, "rows"))
    assert torch.equal(sigmoid(x), torch.sigmoid(x))


@each
def test_gradients_are_those_of_torch(ours, torchs):
    x = torch.randn(3, 5, generator=make_generator(0, "rows"), dtype=torch.float64, requires_grad=True)
    found, expected = (torch.autograd.grad(function(x).sum(), x)[0] for function in (ours, torchs))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
