"""How kernels cut a batch into tasks: one sequence and one block of neighbouring channels each.

Inside a kernel, rows are taken as slices of one token, x_BTE[b, t][start:stop]: Numba then knows that they are
contiguous and that no index is negative, and only then become loops over them vector instructions.
"""

# ruff: noqa: ANN001, ANN201 -- Numba finds the types of kernels

from mambrane.ops.compiled import kernel

BLOCK_CHANNELS = 1024
"""Channels of a block: a row of it fills a page of memory (4 KiB), so that reading ahead works."""


def count_tasks(batch_size: int, num_channels: int, block_channels: int = BLOCK_CHANNELS) -> int:
    """Return the number of tasks: sequences times blocks."""
    return batch_size * -(-num_channels // block_channels)


@kernel()
def locate(task, num_channels, block_channels=BLOCK_CHANNELS):
    """Return the sequence of a task, its block, and the first channel of it and of the next."""
    num_blocks = -(-num_channels // block_channels)
    b, block = task // num_blocks, task % num_blocks
    return b, block, block * block_channels, min((block + 1) * block_channels, num_channels)


@kernel()
def copy(source_W, target_W):
    """Copy one row."""
    for w in range(target_W.size):
        target_W[w] = source_W[w]
