"""Vectors of a kernel compute in each lane what a number would."""

import numpy as np
import pytest

from mambrane.core.seeding import make_generator
from mambrane.ops.compiled import kernel
from mambrane.ops.numba_math import exp
from mambrane.ops.vectors import (
    LANES,
    WIDE_LANES,
    choose,
    filled,
    fused,
    load,
    load_wide,
    lowest_bit,
    nonzero_lanes,
    store,
)

KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])


@kernel()
def _combine(x_RL, number, out_RL):
    a, b = load(x_RL, 0), load(x_RL, 1)
    store(a + b, out_RL, 0)
    store(number - a, out_RL, 1)
    store(a * number, out_RL, 2)
    store(choose(a, b, a, number), out_RL, 3)
    store(filled(number), out_RL, 4)


@kernel()
def _sum_products(x_RL, y_RL, out_L):
    total = filled(x_RL.dtype.type(0))
    for r in range(x_RL.shape[0]):
        total = fused(load(x_RL, r), load(y_RL, r), total)
    store(total, out_L, 0)


@kernel()
def _add_wide_rows(x_RW, number, out_W):
    store(fused(number, load_wide(x_RW, 1), load_wide(x_RW, 0)), out_W, 0)


@kernel()
def _exp_of_vectors(x_RL, out_RL):
    for r in range(x_RL.shape[0]):
        store(exp(load(x_RL, r)), out_RL, r)


@kernel()
def _exp_of_numbers(x_RL, out_RL):
    for r in range(x_RL.shape[0]):
        for lane in range(LANES):
            out_RL[r, lane] = exp(x_RL[r, lane])


@kernel()
def _places(x_RL, found_N):
    count, bits = 0, nonzero_lanes(load(x_RL, 0))
    while bits:
        found_N[count] = lowest_bit(bits)
        count += 1
        bits &= bits - np.uint64(1)
    return count


def make_rows(num_rows, kind):
    return np.random.default_rng(make_generator(0, "rows").initial_seed()).normal(size=(num_rows, LANES)).astype(kind)


@KINDS
def test_operators_and_choices_act_in_each_lane(kind):
    x, out = make_rows(2, kind), np.empty((5, LANES), kind)
    x[0, 3] = np.nan
    _combine(x, kind(0.25), out)
    a, b = x
    expected = [a + b, kind(0.25) - a, a * kind(0.25), np.where(a > b, a, kind(0.25)), np.full(LANES, 0.25, kind)]
    np.testing.assert_array_equal(out, expected)


@KINDS
def test_sums_of_products_are_kept_for_each_lane(kind):
    x, y, out = make_rows(50, kind), make_rows(50, kind)[::-1].copy(), np.empty((1, LANES), kind)
    _sum_products(x, y, out)
    expected = (x.astype(np.float64) * y.astype(np.float64)).sum(axis=0)
    np.testing.assert_allclose(out[0], expected, rtol=0, atol=50 * np.finfo(kind).eps)


@KINDS
def test_wide_vectors_act_in_each_lane_and_count_rows_of_their_own_width(kind):
    x, out = make_rows(2 * WIDE_LANES // LANES, kind).reshape(2, WIDE_LANES), np.empty(WIDE_LANES, kind)
    _add_wide_rows(x, kind(0.5), out)
    np.testing.assert_array_equal(out, x[0] + kind(0.5) * x[1])


@KINDS
def test_exp_of_a_vector_has_the_bits_of_exp_of_its_numbers(kind):
    x = make_rows(40, kind) * kind(30)
    x[0, :4] = np.nan, -np.inf, 1e4, 0
    of_vectors, of_numbers = np.empty_like(x), np.empty_like(x)
    _exp_of_vectors(x, of_vectors)
    _exp_of_numbers(x, of_numbers)
    np.testing.assert_array_equal(of_vectors, of_numbers)


@KINDS
def test_lanes_that_are_not_zero_are_found_from_the_lowest_on(kind):
    x, found = np.zeros((1, LANES), kind), np.zeros(LANES, np.int64)
    assert _places(x, found) == 0
    x[0, [0, 3, LANES - 1]], x[0, 5] = (1.0, np.nan, -1e-30), -0.0
    assert found[: _places(x, found)].tolist() == [0, 3, LANES - 1]
