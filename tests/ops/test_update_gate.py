"""The gate of an update: kernel and reference alike, for parameters of every shape."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops.update_gate import hold_back_, note_usage_
from mambrane.ops.update_gate.numba_cpu import hold_back_numba, note_usage_numba
from tests.ops.tolerances import RATIO, assert_close

SHAPES = [(), (1,), (3, 5), (16,), (130, 33), (0, 4), (7, 1, 9)]
STARTS = [0, 1, 2, 20, 40, 4400, 4400]
NUM_WEIGHTS = 4470
"""More than the parameters fill: what lies between them belongs to others."""
BACKENDS = ["reference", "numba"]


def make_lists(count, shapes=SHAPES, dtype=torch.float32):
    generator = make_generator(0, "update gate")
    return [[torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes] for _ in range(count)]


def make_vectors(count, size=NUM_WEIGHTS, dtype=torch.float32):
    generator = make_generator(0, "vectors")
    return [torch.rand(size, generator=generator, dtype=dtype) for _ in range(count)]


def copies(tensors):
    return [tensor.clone() for tensor in tensors]


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_kernel_equals_reference(dtype):
    weights, before = make_lists(2, dtype=dtype)
    anchor, share = make_vectors(2, dtype=dtype)
    held, noted = {}, {}
    for backend in BACKENDS:
        held[backend], noted[backend] = copies(weights), anchor.clone()
        hold_back_(held[backend], before, anchor, share, STARTS, backend=backend)
        note_usage_(noted[backend], before, STARTS, rate=0.3, backend=backend)
    assert_close("weights", *(flat(held[backend]) for backend in BACKENDS), RATIO[dtype])
    assert_close("usage", *(noted[backend] for backend in BACKENDS), RATIO[dtype])
    moved = flat(held["numba"]) != flat(weights)
    assert moved.any()
    assert not moved.all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_ends_farther_from_the_anchor_is_held_back(backend):
    anchor, share = torch.zeros(6), torch.full((6,), 0.25)
    before = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, 0.0])
    weight = torch.tensor([2.0, 0.5, -0.5, -3.0, -1.0, 0.5])
    hold_back_([weight], [before], anchor, share, [0], backend=backend)
    assert weight.tolist() == [1.75, 0.5, -0.5, -2.0, -1.0, 0.375]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_share_of_zero_leaves_every_bit(backend):
    weights, before = make_lists(2)
    held = copies(weights)
    hold_back_(held, before, *make_vectors(1), torch.zeros(NUM_WEIGHTS), STARTS, backend=backend)
    assert torch.equal(flat(held).view(torch.int32), flat(weights).view(torch.int32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_usage_is_the_running_mean_of_squares_and_the_rest_of_the_vector_stays(backend):
    (gradients,) = make_lists(1, dtype=torch.float64)
    usage = torch.full((NUM_WEIGHTS,), torch.nan, dtype=torch.float64)
    expected = usage.clone()
    for gradient, start in zip(gradients, STARTS, strict=True):
        usage[start : start + gradient.numel()] = 0.0
        squares = gradient.flatten().square() * (0.125 * 1 + 0.25 * 4 + 0.5 * 9)
        expected[start : start + gradient.numel()] = squares
    for step in range(1, 4):
        note_usage_(usage, [step * gradient for gradient in gradients], STARTS, rate=0.5, backend=backend)
    torch.testing.assert_close(usage, expected, rtol=1e-12, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_parameters_are_no_work(backend):
    hold_back_([], [], torch.ones(2), torch.ones(2), [], backend=backend)
    note_usage_(torch.ones(2), [], [], rate=0.5, backend=backend)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    shapes, starts = [(1000, 1003), (17,), (300, 700), (5, 5)], [0, 1_003_000, 1_003_017, 1_213_017]
    weights, before = make_lists(2, shapes)
    anchor, share = make_vectors(2, 1_213_042)
    held, noted = [], []
    for threads in (1, 2, 3):
        num_threads(threads)
        held.append(copies(weights))
        hold_back_(held[-1], before, anchor, share, starts)
        noted.append(anchor.clone())
        note_usage_(noted[-1], before, starts, rate=0.1)
    assert all(torch.equal(flat(held[0]), flat(other)) for other in held[1:])
    assert all(torch.equal(noted[0], other) for other in noted[1:])


@pytest.mark.parametrize(
    "wrong",
    [[torch.ones(3, 4)], [torch.ones(4, 3, dtype=torch.float64)], [torch.ones(3, 4).T], [], [torch.ones(4, 3)] * 2],
)
def test_weights_that_do_not_fit_are_refused_before_a_number_is_written(wrong):
    weights, vector = [torch.ones(4, 3)], torch.full((12,), 0.5)
    with pytest.raises(ValueError, match="wanted"):
        hold_back_numba(weights, wrong, vector, vector, [0])
    assert (weights[0] == 1.0).all()


WRONG_VECTORS = [([1], torch.float32), ([-1], torch.float32), ([0, 0], torch.float32), ([], torch.float32)]


@pytest.mark.parametrize(("starts", "dtype"), [*WRONG_VECTORS, ([0], torch.float64)])
def test_vectors_that_do_not_fit_are_refused_before_a_number_is_written(starts, dtype):
    ones, vector = [torch.ones(4, 3)], torch.ones(12)
    with pytest.raises(ValueError, match="wanted"):
        hold_back_numba(ones, [torch.zeros(4, 3)], vector, torch.ones(12, dtype=dtype), starts)
    with pytest.raises(ValueError, match="wanted"):
        note_usage_numba(torch.ones(12, dtype=dtype), ones, starts, rate=0.5)
    assert (ones[0] == 1.0).all()
