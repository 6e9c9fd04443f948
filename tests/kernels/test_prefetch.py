"""Asking for memory changes nothing, whatever the width of a strip and wherever it begins."""

import numpy as np
import pytest

from mambrane.kernels.compiled import kernel
from mambrane.kernels.prefetch import prefetch_strip, prefetch_strip_for_write
from mambrane.kernels.vectors import LANES, STRIP_LANES, zeros


@kernel()
def _ask(x_W, out_W, start):
    prefetch_strip(zeros(x_W, STRIP_LANES), x_W, start)
    prefetch_strip_for_write(zeros(out_W, STRIP_LANES), out_W, start)
    prefetch_strip(zeros(x_W, 1), x_W, start)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("start", [0, 3, 10**9])
def test_asking_for_memory_changes_no_number_and_may_go_beyond_the_end(kind, start):
    x_W, out_W = np.arange(LANES, dtype=kind), np.ones(LANES, kind)
    _ask(x_W, out_W, start)
    np.testing.assert_array_equal(x_W, np.arange(LANES))
    np.testing.assert_array_equal(out_W, np.ones(LANES))
