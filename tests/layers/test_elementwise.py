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


@each
def test_tensors_that_fill_their_vectors_are_those_of_torch_bit_for_bit(ours, torchs):
    x = torch.randn(3, WHOLE_VECTORS, generator=make_generator(0, "rows"))
    assert torch.equal(ours(x), torchs(x))


@each
def test_gradients_are_those_of_torch(ours, torchs):
    x = torch.randn(3, 5, generator=make_generator(0, "rows"), dtype=torch.float64, requires_grad=True)
    assert torch.equal(torch.autograd.grad(ours(x).sum(), x)[0], torch.autograd.grad(torchs(x).sum(), x)[0])
