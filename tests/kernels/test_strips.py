"""Blocks of channels as strips."""

import numpy as np
import pytest

from mambrane.kernels.compiled import kernel
from mambrane.kernels.strips import clear_rows, load_strips, store_strips
from mambrane.kernels.vectors import WIDE_LANES

ROWS = 3


@kernel()
def load_and_store(rows_RE, start, stop, num_rows, block_QL, target_RE):
    """Copy channels to a block and back."""
    load_strips(rows_RE, start, stop, num_rows, block_QL)
    store_strips(block_QL, start, stop, num_rows, target_RE)


@kernel()
def clear_all(block_RL):
    """Set a block to zero."""
    clear_rows(block_RL)


@pytest.mark.parametrize("channels", [1, WIDE_LANES, 2 * WIDE_LANES + 5])
def test_a_block_holds_each_strip_row_by_row_and_gives_its_channels_back(channels):
    start, stop, num_strips = 2, 2 + channels, -(-channels // WIDE_LANES)
    rows_RE = np.arange(1.0, ROWS * (channels + 3) + 1, dtype=np.float32).reshape(ROWS, channels + 3)
    block_QL, target_RE = np.zeros((num_strips * ROWS, WIDE_LANES), np.float32), np.zeros_like(rows_RE)
    load_and_store(rows_RE, start, stop, ROWS, block_QL, target_RE)
    filled = np.pad(rows_RE[:, start:stop], ((0, 0), (0, num_strips * WIDE_LANES - channels)))
    expected = filled.reshape(ROWS, num_strips, WIDE_LANES).swapaxes(0, 1).reshape(-1, WIDE_LANES)
    np.testing.assert_array_equal(block_QL, expected)
    np.testing.assert_array_equal(target_RE[:, start:stop], rows_RE[:, start:stop])
    assert not target_RE[:, [0, 1, -1]].any()
    clear_all(block_QL)
    assert not block_QL.any()
