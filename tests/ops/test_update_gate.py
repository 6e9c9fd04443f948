"""The gate of an update: kernel and reference alike, for lists of weights of every shape."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.update_gate import hold_back_, note_usage_
from mambrane.ops.update_gate.numba_cpu import hold_back_numba, note_usage_numba
from tests.ops.tolerances import RATIO, assert_close

SHAPES = [(), (1,), (3, 5), (16,), (130, 33), (0, 4), (7, 1, 9)]
BACKENDS = ["reference", "numba"]


def make_lists(count, shapes=SHAPES, dtype=torch.float32):
    generator = make_generator(0, "update gate")
    return [[torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes] for _ in range(count)]


def copies(tensors):
    return [tensor.clone() for tensor in tensors]


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_kernel_equals_reference(dtype):
    weights, before, anchors, shares = make_lists(4, dtype=dtype)
    shares = [share.sigmoid() for share in shares]
    held, noted = {}, {}
    for backend in BACKENDS:
        held[backend], noted[backend] = copies(weights), copies(shares)
        hold_back_(held[backend], before, anchors, shares, backend=backend)
        note_usage_(noted[backend], before, rate=0.3, backend=backend)
    for name, found in (("weights", held), ("usages", noted)):
        assert_close(name, *(flat(found[backend]) for backend in BACKENDS), RATIO[dtype])
    moved = flat(held["numba"]) != flat(weights)
    assert moved.any()
    assert not moved.all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_ends_farther_from_the_anchor_is_held_back(backend):
    anchor, share = torch.zeros(6), torch.full((6,), 0.25)
    before = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, 0.0])
    weight = torch.tensor([2.0, 0.5, -0.5, -3.0, -1.0, 0.5])
    hold_back_([weight], [before], [anchor], [share], backend=backend)
    assert weight.tolist() == [1.75, 0.5, -0.5, -2.0, -1.0, 0.375]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_share_of_zero_leaves_every_bit(backend):
    weights, before, anchors = make_lists(3)
    held = copies(weights)
    hold_back_(held, before, anchors, [torch.zeros_like(weight) for weight in weights], backend=backend)
    assert torch.equal(flat(held).view(torch.int32), flat(weights).view(torch.int32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_usage_is_the_running_mean_of_squares(backend):
    (gradients,) = make_lists(1, dtype=torch.float64)
    usages = [torch.zeros_like(gradient) for gradient in gradients]
    for step in range(1, 4):
        note_usage_(usages, [step * gradient for gradient in gradients], rate=0.5, backend=backend)
    expected = flat(gradients).square() * (0.125 * 1 + 0.25 * 4 + 0.5 * 9)
    torch.testing.assert_close(flat(usages), expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_lists_are_no_work(backend):
    hold_back_([], [], [], [], backend=backend)
    note_usage_([], [], rate=0.5, backend=backend)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    shapes = [(1000, 1003), (17,), (300, 700), (5, 5)]
    weights, before, anchors, shares = make_lists(4, shapes)
    held, noted = [], []
    for threads in (1, 2, 3):
        num_threads(threads)
        held.append(copies(weights))
        hold_back_(held[-1], before, anchors, shares)
        noted.append(copies(weights))
        note_usage_(noted[-1], before, rate=0.1)
    for found in (held, noted):
        assert all(torch.equal(flat(found[0]), flat(other)) for other in found[1:])


def test_lists_that_do_not_fit_are_refused_before_a_number_is_written():
    ones, gradients = [torch.ones(4, 3)], [torch.ones(4, 3)]
    for wrong in (
        [torch.ones(3, 4)],
        [torch.ones(4, 3, dtype=torch.float64)],
        [torch.ones(3, 4).T],
        [],
        [torch.ones(4, 3)] * 2,
    ):
        with pytest.raises(ValueError, match="wanted"):
            note_usage_numba(ones, wrong, rate=0.5)
        with pytest.raises(ValueError, match="wanted"):
            hold_back_numba(ones, gradients, wrong, gradients)
    assert (ones[0] == 1.0).all()
