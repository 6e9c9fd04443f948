"""Vectors of a kernel compute in each lane what a number would."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mambrane.core.seeding import make_generator
from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_math import exp
from mambrane.kernels.vectors import (
    FEATURES,
    LANES,
    STRIP_LANES,
    WIDE_LANES,
    broadcast,
    fma,
    lanes_of,
    load,
    load_strip,
    load_wide,
    lower_half,
    lowest_bit,
    nonzero_lanes,
    store,
    store_strip,
    sum_of_lanes,
    upper_half,
    where_ge,
    where_gt,
    zeros,
)

KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])


@kernel()
def _combine(x_RL, number, out_RL):
    a, b = load(x_RL, 0), load(x_RL, 1)
    store(a + b, out_RL, 0)
    store(number - a, out_RL, 1)
    store(a * number, out_RL, 2)
    store(where_gt(a, b, a, number), out_RL, 3)
    store(broadcast(number), out_RL, 4)
    store(a / b, out_RL, 5)
    store(abs(a), out_RL, 6)
    store(where_ge(a, b, a, number), out_RL, 7)


@kernel()
def _sum_products(x_RL, y_RL, out_L):
    total = broadcast(x_RL.dtype.type(0))
    for r in range(x_RL.shape[0]):
        total = fma(load(x_RL, r), load(y_RL, r), total)
    store(total, out_L, 0)


@kernel()
def _sum_rows(x_RL, sums_R):
    for r in range(x_RL.shape[0]):
        sums_R[r] = sum_of_lanes(load(x_RL, r))


@kernel()
def _sum_halves(x_RL, sums_2):
    sums_2[0], sums_2[1] = sum_of_lanes(lower_half(load(x_RL, 0))), sum_of_lanes(upper_half(load(x_RL, 0)))


@kernel()
def _add_wide_rows(x_RW, number, out_W):
    store(fma(number, load_wide(x_RW, 1), load_wide(x_RW, 0)), out_W, 0)


@kernel(fuses=True)
def _add_product(x_RL, out_L):
    store(load(x_RL, 0) * load(x_RL, 1) + load(x_RL, 2), out_L, 0)


@kernel(fuses=False)
def _add_rounded_product(x_RL, out_L):
    store(load(x_RL, 0) * load(x_RL, 1) + load(x_RL, 2), out_L, 0)


@kernel()
def _double_strips(x_W, out_W):
    """Double a row in wide strips, in narrow ones, and one by one; return the widths."""
    wide, narrow, single = zeros(x_W, STRIP_LANES), zeros(x_W, LANES), zeros(x_W, 1)
    _double(wide, x_W, out_W, 3)
    _double(narrow, x_W, out_W, 3 + lanes_of(wide))
    _double(single, x_W, out_W, 3 + lanes_of(wide) + lanes_of(narrow))
    return lanes_of(wide), lanes_of(narrow), lanes_of(single)


@kernel()
def _double(like, x_W, out_W, start):
    strip = load_strip(like, x_W, start)
    store_strip(like + strip + strip, out_W, start)


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
    x, out = make_rows(2, kind), np.empty((8, LANES), kind)
    x[0, 3], x[0, 4] = np.nan, x[1, 4]
    _combine(x, kind(0.25), out)
    a, b = x
    number = np.full(LANES, 0.25, kind)
    expected = [a + b, number - a, a * number, np.where(a > b, a, number), number]
    expected += [a / b, np.abs(a), np.where(a >= b, a, number)]
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
def test_a_strip_starts_anywhere_and_writes_no_more_than_its_width(kind):
    x = make_rows(STRIP_LANES // LANES + 2, kind).ravel()
    out = np.zeros_like(x)
    assert _double_strips(x, out) == (STRIP_LANES, LANES, 1)
    expected = np.zeros_like(x)
    written = slice(3, 3 + STRIP_LANES + LANES + 1)
    expected[written] = 2 * x[written]
    np.testing.assert_array_equal(out, expected)


@KINDS
def test_the_kernel_decides_whether_a_product_and_a_sum_are_rounded_once(kind):
    x, fused_once, rounded_twice = make_rows(3, kind), np.empty(LANES, kind), np.empty(LANES, kind)
    x[2] = -x[0] * x[1]
    _add_product(x, fused_once)
    _add_rounded_product(x, rounded_twice)
    np.testing.assert_array_equal(rounded_twice, np.zeros(LANES, kind))
    if "+fma" in FEATURES:
        assert np.any(fused_once != 0)


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


@pytest.mark.parametrize(("features", "lanes"), [("+avx2,+fma", LANES), ("+avx2,+avx512f", 2 * LANES)])
def test_the_width_is_that_of_the_processor_that_numba_compiles_for(features, lanes):
    # Otherwise machines that share a cache of kernels would read each other's rows in the wrong width.
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    code = "from mambrane.kernels.vectors import STRIP_LANES, WIDE_LANES; print(WIDE_LANES, STRIP_LANES)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(lanes), str(2 * lanes)]


@KINDS
def test_the_sum_of_lanes_is_that_of_all_numbers_of_a_row(kind):
    x_RL = np.arange(3 * LANES, dtype=kind).reshape(3, LANES) ** 2
    sums_R = np.empty(3, kind)
    _sum_rows(x_RL, sums_R)
    np.testing.assert_array_equal(sums_R, x_RL.sum(axis=1))


@KINDS
def test_the_halves_of_a_vector_are_its_first_and_its_last_lanes(kind):
    x_RL, sums_2 = np.arange(LANES, dtype=kind).reshape(1, LANES), np.empty(2, kind)
    _sum_halves(x_RL, sums_2)
    np.testing.assert_array_equal(sums_2, x_RL.reshape(2, -1).sum(axis=1))
