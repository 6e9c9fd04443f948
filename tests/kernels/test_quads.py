"""Quads: the numbers of each lane, side by side in memory, come into vectors and go back as they were."""

import numpy as np
import pytest

from mambrane.kernels.compiled import kernel
from mambrane.kernels.quads import NUMBERS_OF_QUAD, load_quads, store_quads
from mambrane.kernels.vectors import LANES, store


@kernel()
def take(row, start, step, vectors_NL):
    a, b, c, d = load_quads(row, start, step)
    store(a, vectors_NL, 0)
    store(b, vectors_NL, 1)
    store(c, vectors_NL, 2)
    store(d, vectors_NL, 3)


@kernel()
def move(row, start, step, target):
    store_quads(load_quads(row, start, step), target, start, step)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("start", "step"), [(0, 4), (3, 4), (5, 12)])
def test_each_lane_has_its_four_numbers_and_they_go_back(start, step, dtype):
    row, found = np.arange(300, dtype=dtype), np.empty((NUMBERS_OF_QUAD, LANES), dtype)
    take(row, start, step, found)
    places = start + step * np.arange(LANES) + np.arange(NUMBERS_OF_QUAD)[:, None]
    np.testing.assert_array_equal(found, row[places])
    target = np.full_like(row, -1)
    move(row, start, step, target)
    expected = np.full_like(row, -1)
    expected[places] = row[places]
    np.testing.assert_array_equal(target, expected)
