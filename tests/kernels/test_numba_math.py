"""exp, 2^y, sigmoid, tanh and softplus of the kernels against NumPy's in float64."""

import numpy as np
import pytest

from mambrane.kernels import numba_math
from mambrane.kernels.compiled import kernel
from mambrane.kernels.vectors import LANES, load, store


@kernel()
def apply_exp(x, y):
    for i in range(x.size):
        y[i] = numba_math.exp(x[i])


@kernel()
def apply_sigmoid(x, y):
    for i in range(x.size):
        y[i] = numba_math.sigmoid(x[i])


@kernel()
def apply_tanh(x, y):
    for i in range(x.size):
        y[i] = numba_math.tanh(x[i])


@kernel()
def apply_softplus(x, y):
    for i in range(x.size):
        y[i] = numba_math.softplus(x[i])


@kernel()
def apply_power_of_two(x, y):
    for row in range(x.size // LANES):
        store(numba_math.power_of_two(load(x, row)), y, row)


@kernel()
def apply_doublings(x, y):
    for row in range(x.size // LANES):
        store(numba_math.power_of_two(numba_math.doublings(load(x, row))), y, row)


def run(function, values, dtype):
    x = np.asarray(values, dtype)
    y = np.empty_like(x)
    function(x, y)
    return x.astype(np.float64), y


def test_exp_is_within_1e_7_of_itself_in_float32():
    x, y = run(apply_exp, np.linspace(-87, 88, 100_001), np.float32)
    assert np.abs(y / np.exp(x) - 1).max() < 1e-7


@pytest.mark.parametrize(("function", "exact", "error"), [(apply_sigmoid, "sigmoid", 1e-7), (apply_tanh, "tanh", 2e-7)])
def test_sigmoid_and_tanh_are_close_in_float32(function, exact, error):
    x, y = run(function, np.linspace(-100, 100, 100_001), np.float32)
    expected = np.tanh(x) if exact == "tanh" else 1 / (1 + np.exp(-x))
    assert np.abs(y - expected).max() < error


@pytest.mark.parametrize("function", [apply_exp, apply_sigmoid, apply_tanh])
def test_not_a_number_stays_so_and_extremes_stay_finite(function):
    _, y = run(function, [np.nan, -np.inf, np.inf, -1e30, 1e30], np.float32)
    assert np.isnan(y[0])
    assert np.isfinite(y[1:]).all()
    np.testing.assert_allclose(y[[1, 3]], -1.0 if function is apply_tanh else 0.0, atol=1e-37)


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 4e-7), (np.float64, 1e-14)])
def test_softplus_is_close_to_itself_in_proportion(dtype, error):
    x, y = run(apply_softplus, np.linspace(-85, 100, 100_001), dtype)
    assert np.abs(y / np.logaddexp(x, 0) - 1).max() < error
    _, y = run(apply_softplus, [np.nan, -np.inf, np.inf, -1e30, 1e30], dtype)
    assert np.isnan(y[0])
    np.testing.assert_allclose(y[1:], [0.0, np.inf, 0.0, 1e30], atol=1e-37)


def test_float64_is_exact_to_the_last_digits():
    for function, exact in ((apply_exp, np.exp), (apply_tanh, np.tanh)):
        x, y = run(function, np.linspace(-30, 30, 1001), np.float64)
        np.testing.assert_allclose(y, exact(x), rtol=1e-14)


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 2e-7), (np.float64, 1e-13)])
def test_power_of_two_is_that_of_its_argument(dtype, error):
    x, y = run(apply_power_of_two, np.linspace(-126, 127, 1000 * LANES), dtype)
    assert np.abs(y / np.exp2(x) - 1).max() < error
    x, y = run(apply_doublings, np.linspace(-2, 2, 1000 * LANES), dtype)
    assert np.abs(y / np.exp(x) - 1).max() < 2 * error


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power_of_two_of_zero_is_one_below_the_normal_numbers_zero_and_of_nothing_nothing(dtype):
    values = [0.0, -126.0, np.nextafter(np.float32(-126.0), np.float32(-127.0)), -1e30, -np.inf, np.nan, *[1.0] * 10]
    _, y = run(apply_power_of_two, values, dtype)
    assert y[0] == 1.0
    assert y[1] == pytest.approx(2.0**-126, rel=1e-13)
    np.testing.assert_array_equal(y[2:5], np.zeros(3, dtype))
    assert np.isnan(y[5])
