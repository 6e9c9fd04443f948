"""Tasks of a batch, and the scratch memory of a kernel."""

import numpy as np
import pytest

from mambrane.kernels.blocks import BLOCK_CHANNELS, block_range, block_width, count_tasks, scratch, zeros_in_lines
from mambrane.kernels.compiled import kernel
from mambrane.kernels.vectors import LINE_BYTES


@kernel()
def fill_and_sum(num_rows, width, like):
    """Number all places of scratch memory, then add the numbers up."""
    rows_RW = scratch(num_rows, width, like)
    for r in range(num_rows):
        for w in range(width):
            rows_RW[r, w] = r * width + w
    total = like.dtype.type(0)
    for r in range(num_rows):
        for w in range(width):
            total += rows_RW[r, w]
    return total


@kernel()
def fill_and_sum_often(times, num_rows, width, like):
    """Do so again and again; the last sum."""
    total = like.dtype.type(0)
    for _ in range(times):
        total = fill_and_sum(num_rows, width, like)
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 131)], ids=str)
def test_each_place_of_scratch_memory_is_its_own(shape, dtype):
    size = shape[0] * shape[1]
    assert fill_and_sum(*shape, np.empty(0, dtype)) == size * (size - 1) / 2


def test_scratch_memory_goes_when_its_kernel_returns():
    # Kept, it would take 2.5 GB of a stack of a few MB.
    assert fill_and_sum_often(10_000, 16, 1024, np.empty(0)) == 16_384 * 16_383 / 2


@kernel(makes_arrays=True)
def line_offsets(offsets_K, num_rows, width, like):
    """Write where memory of zeros begins in a line of the cache, several times, then its sum of squares."""
    for k in range(offsets_K.size - 1):
        rows_RW = zeros_in_lines(num_rows, width, like)
        offsets_K[k] = rows_RW.ctypes.data % LINE_BYTES
        rows_RW[num_rows - 1, width - 1] = 2
        offsets_K[-1] = (rows_RW**2).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_zeros_begins_with_a_line_of_the_cache(dtype):
    offsets_K = np.ones(9, int)
    line_offsets(offsets_K, 3, 5, np.empty(0, dtype))
    assert offsets_K.tolist() == [0] * 8 + [4]


@pytest.mark.parametrize("num_channels", [1, BLOCK_CHANNELS, BLOCK_CHANNELS + 1, 2 * BLOCK_CHANNELS + 5])
def test_tasks_cover_every_channel_of_every_sequence_once(num_channels):
    seen = np.zeros((3, num_channels), dtype=int)
    for task in range(count_tasks(3, num_channels)):
        b, _, start, stop = block_range(task, num_channels)
        assert stop - start <= block_width(num_channels)
        seen[b, start:stop] += 1
    assert (seen == 1).all()
