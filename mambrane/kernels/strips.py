"""Blocks of channels as strips: vectors of WIDE_LANES neighbouring channels, the rows of a strip one behind the other.

So what a strip needs of a chunk of tokens lies side by side. The last strip may have fewer channels; what fills it
stays as it is. R rows, for instance tokens; E channels; Q rows of all strips, L lanes.
"""

# ruff: noqa: ANN001, ANN201 -- Numba finds the types of kernels

from mambrane.kernels.blocks import clear
from mambrane.kernels.compiled import kernel
from mambrane.kernels.vectors import WIDE_LANES, load_strip, load_wide, store, store_strip, zeros


@kernel()
def load_strips(rows_RE, start, stop, num_rows, block_QL):
    """Copy the channels start, ..., stop - 1 into memory of their own, strip by strip of `num_rows` rows."""
    prototype_L, whole = zeros(block_QL, WIDE_LANES), (stop - start) // WIDE_LANES
    for r in range(rows_RE.shape[0]):
        row_E = rows_RE[r]
        for strip in range(whole):
            store(load_strip(prototype_L, row_E, start + strip * WIDE_LANES), block_QL, strip * num_rows + r)
        for lane in range(stop - start - whole * WIDE_LANES):
            block_QL[whole * num_rows + r, lane] = row_E[start + whole * WIDE_LANES + lane]


@kernel()
def store_strips(block_QL, start, stop, num_rows, rows_RE):
    """Copy a block back to the channels start, ..., stop - 1."""
    whole = (stop - start) // WIDE_LANES
    for r in range(rows_RE.shape[0]):
        row_E = rows_RE[r]
        for strip in range(whole):
            store_strip(load_wide(block_QL, strip * num_rows + r), row_E, start + strip * WIDE_LANES)
        for lane in range(stop - start - whole * WIDE_LANES):
            row_E[start + whole * WIDE_LANES + lane] = block_QL[whole * num_rows + r, lane]


@kernel()
def clear_rows(block_RL):
    """Set all rows to zero."""
    for r in range(block_RL.shape[0]):
        clear(block_RL[r])
