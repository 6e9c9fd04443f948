"""exp, sigmoid and tanh of the kernels against NumPy's in float64."""

import numpy as np
import pytest

from mambrane.kernels import numba_math
from mambrane.kernels.compiled import kernel


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


def test_float64_is_exact_to_the_last_digits():
    for function, exact in ((apply_exp, np.exp), (apply_tanh, np.tanh)):
        x, y = run(function, np.linspace(-30, 30, 1001), np.float64)
        np.testing.assert_allclose(y, exact(x), rtol=1e-14)
