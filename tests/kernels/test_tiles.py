"""Tiles of sums of products: each lane multiplies its own two matrices."""

import numpy as np
import pytest

from mambrane.kernels.tiles import (
    KEYS_TOGETHER,
    QUERIES_TOGETHER,
    add_products,
    bring_into_lanes,
    multiply_rows,
    sum_rows,
    take_out_of_lanes,
)
from mambrane.kernels.vectors import LANES

NUMBERS, ROWS = 6, 8


def random(*shape, seed, dtype):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_queries_and_keys_are_those_of_each_lane(dtype):
    left, right = random(8, NUMBERS, LANES, seed=0, dtype=dtype), random(12, NUMBERS, LANES, seed=1, dtype=dtype)
    product = np.full((QUERIES_TOGETHER, ROWS + KEYS_TOGETHER, LANES), np.nan, dtype)
    multiply_rows(left, 4, right, 3, ROWS, product)
    expected = np.einsum("qnl,wnl->qwl", left[4 : 4 + QUERIES_TOGETHER], right[3 : 3 + ROWS])
    np.testing.assert_allclose(product[:, :ROWS], expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(product[:, ROWS:]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weighted_sums_of_rows_are_written_and_products_are_added(dtype):
    weights = random(QUERIES_TOGETHER, ROWS, LANES, seed=2, dtype=dtype)
    x = random(12, NUMBERS, LANES, seed=3, dtype=dtype)
    sums = np.full((8, NUMBERS, LANES), 7.0, dtype)
    sum_rows(weights, x, 2, ROWS, sums, 4)
    expected = np.einsum("qwl,wnl->qnl", weights, x[2 : 2 + ROWS])
    np.testing.assert_allclose(sums[4 : 4 + QUERIES_TOGETHER], expected, rtol=1e-5, atol=1e-5)
    assert (sums[:4] == 7.0).all()

    grads, added = random(8, NUMBERS, LANES, seed=4, dtype=dtype), np.ones((12, NUMBERS, LANES), dtype)
    add_products(weights, grads, 4, 2, ROWS, added)
    expected = 1.0 + np.einsum("qwl,qnl->wnl", weights, grads[4 : 4 + QUERIES_TOGETHER])
    np.testing.assert_allclose(added[2 : 2 + ROWS], expected, rtol=1e-5, atol=1e-5)
    assert (added[:2] == 1.0).all()
    assert (added[2 + ROWS :] == 1.0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_brought_into_lanes_and_taken_out_again(dtype):
    numbers, start = 8, 5
    x, rows = random(start + numbers * LANES + 3, seed=5, dtype=dtype), np.full((3, numbers, LANES), 7.0, dtype)
    bring_into_lanes(x, start, numbers, rows.dtype.type(2), rows, 1)
    np.testing.assert_array_equal(rows[1], 2 * x[start:-3].reshape(LANES, numbers).T)
    assert (rows[[0, 2]] == 7.0).all()
    back = np.zeros_like(x)
    take_out_of_lanes(rows, 1, rows.dtype.type(0.5), back, start, numbers)
    np.testing.assert_array_equal(back[start:-3], x[start:-3])
    assert not back[:start].any()
    assert not back[-3:].any()
