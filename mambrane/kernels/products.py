"""Products of matrices inside kernels: few rows times a large matrix, and sums over tokens.

A tile of the result, ROWS_TOGETHER rows of one wide vector each, stays in registers while all terms are added to it, so
that what is loaded of the right matrix serves all its rows. Each number is a sum over the terms in their order, whoever
computes it and whatever the other rows are.

The right matrix lies in panels, as wide as a vector and contiguous, so that a tile reads it straight through; rows that
are filled up to whole panels can also stay as they are. Rows on the left are filled up to whole tiles, with zeros.

Letters: R rows, K terms, N columns, P panels, C = WIDE_LANES columns of a panel, Q tokens of all sequences.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

import numpy as np
from torch import SymInt, Tensor

from mambrane.kernels.arguments import arrays
from mambrane.kernels.blocks import copy
from mambrane.kernels.compiled import kernel
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import WIDE_LANES, fma, load_wide, store

ROWS_TOGETHER = 4

BLOCK_ROWS = 32
BLOCK_TERMS = 128
"""Of a sum over tokens: 16 KiB of the left matrix in float32, which every panel on the right meets in turn."""


def whole_panels(num_columns: int | SymInt) -> int | SymInt:
    """Return the number of columns of as many whole panels as are needed."""
    return -(-num_columns // WIDE_LANES) * WIDE_LANES


def panels(right_KN: Tensor) -> np.ndarray:
    """Return the matrix in panels [P, K, C]."""
    num_terms, num_columns = right_KN.shape
    panels_PKC = right_KN.new_empty(-(-num_columns // WIDE_LANES), num_terms, WIDE_LANES)
    parallel_for(_pack, len(panels_PKC), right_KN.detach().numpy(), panels_PKC.numpy(), work_ns=panels_PKC.numel())
    return panels_PKC.numpy()


@kernel()
def _pack(first, last, right_KN, panels_PKC):
    num_terms, num_columns = right_KN.shape
    for p in range(first, last):
        start = p * WIDE_LANES
        width = min(WIDE_LANES, num_columns - start)
        for k in range(num_terms):
            for c in range(width):
                panels_PKC[p, k, c] = right_KN[k, start + c]
            for c in range(width, WIDE_LANES):
                panels_PKC[p, k, c] = 0


@kernel(makes_arrays=True)
def zero_sums(num_rows, panels_PKC):
    """Return zeros [R, N] for num_rows rows of a product, filled up to whole tiles and panels."""
    num_tile_rows = -(-num_rows // ROWS_TOGETHER) * ROWS_TOGETHER
    return np.zeros((num_tile_rows, len(panels_PKC) * WIDE_LANES), panels_PKC.dtype)


@kernel()
def add_product(left_RK, panels_PKC, sum_RN):
    """Add left @ right to the sum; R and N are whole tiles and panels, the left matrix may be wider than K."""
    num_panels, num_terms, _ = panels_PKC.shape
    for p in range(num_panels):
        for r in range(0, left_RK.shape[0], ROWS_TOGETHER):
            _add_tile(left_RK, r, num_terms, panels_PKC, p * num_terms, 1, sum_RN, p)


def sum_over_tokens(left_QR: Tensor, right_QN: Tensor, num_columns: int) -> Tensor:
    """Return left.T @ right [R, num_columns]; the rows on the right are filled up to whole panels."""
    sum_RN = left_QR.new_empty(left_QR.shape[1], num_columns)
    parallel_for(
        _sum_over_tokens,
        -(-len(sum_RN) // BLOCK_ROWS),
        *arrays(left_QR, right_QN, sum_RN),
        work_ns=0.01 * left_QR.numel() * num_columns,
    )
    return sum_RN


@kernel(makes_arrays=True)
def _sum_over_tokens(first, last, left_QR, right_QN, sum_RN):
    """Write blocks of rows; a block of the left matrix is copied, because its own rows are far apart."""
    (num_tokens, num_rows), num_panels = left_QR.shape, right_QN.shape[1] // WIDE_LANES
    block_KR = np.zeros((BLOCK_TERMS, BLOCK_ROWS), left_QR.dtype)
    block_RN = np.empty((BLOCK_ROWS, right_QN.shape[1]), left_QR.dtype)
    for block in range(first, last):
        start = block * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, num_rows)
        block_RN[:] = 0
        for token in range(0, num_tokens, BLOCK_TERMS):
            num_terms = min(BLOCK_TERMS, num_tokens - token)
            for k in range(num_terms):
                copy(left_QR[token + k][start:stop], block_KR[k][: stop - start])
            for p in range(num_panels):
                for r in range(0, BLOCK_ROWS, ROWS_TOGETHER):
                    _add_tile(block_KR.T, r, num_terms, right_QN, token * num_panels + p, num_panels, block_RN, p)
        for r in range(start, stop):
            copy(block_RN[r - start][: sum_RN.shape[1]], sum_RN[r])


@kernel()
def _add_tile(left_RK, r, num_terms, right, offset, step, sum_RN, p):
    """Add to rows r, r + 1, ... of panel p of the sum; term k on the right stands in row `offset` + `step` k."""
    num_panels = sum_RN.shape[1] // WIDE_LANES
    target = r * num_panels + p
    a_C, b_C = load_wide(sum_RN, target), load_wide(sum_RN, target + num_panels)
    c_C, d_C = load_wide(sum_RN, target + 2 * num_panels), load_wide(sum_RN, target + 3 * num_panels)
    for k in range(num_terms):
        right_C = load_wide(right, offset)
        a_C, b_C = fma(left_RK[r, k], right_C, a_C), fma(left_RK[r + 1, k], right_C, b_C)
        c_C, d_C = fma(left_RK[r + 2, k], right_C, c_C), fma(left_RK[r + 3, k], right_C, d_C)
        offset += step
    store(a_C, sum_RN, target)
    store(b_C, sum_RN, target + num_panels)
    store(c_C, sum_RN, target + 2 * num_panels)
    store(d_C, sum_RN, target + 3 * num_panels)
