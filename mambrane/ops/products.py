"""Products of matrices inside kernels: few rows times a large matrix, and sums over tokens for weight gradients.

A tile of ROWS_TOGETHER rows and PANEL_COLUMNS columns of the result stays in registers while all terms are added to it,
so that one load of the right matrix serves all rows. A number of the result is a sum over the terms in their order,
rounded once a term: it depends neither on the other rows nor on who computes it.

The right matrix lies in panels of PANEL_COLUMNS columns, each contiguous, so that a tile reads it straight through; it
may also lie as it is, if rows are filled up to whole panels. Rows on the left are filled up to whole tiles. What fills
up is zero.

Letters: R rows, K terms, N columns, P panels, C columns of a panel, Q tokens of all sequences.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

import numpy as np
from torch import SymInt, Tensor

from mambrane.ops.arguments import arrays
from mambrane.ops.blocks import copy
from mambrane.ops.compiled import kernel
from mambrane.ops.threads import share_out
from mambrane.ops.tiles import load_pair, store_pair
from mambrane.ops.vectors import LANES, fused

ROWS_TOGETHER = 4
PANEL_VECTORS = 2
PANEL_COLUMNS = PANEL_VECTORS * LANES

BLOCK_ROWS = 32
BLOCK_TERMS = 128
"""Of a sum over tokens: 16 KiB of the left matrix in float32, which every panel on the right meets in turn."""


def whole_panels(num_columns: int | SymInt) -> int | SymInt:
    """Return the number of columns of as many whole panels as are needed."""
    return -(-num_columns // PANEL_COLUMNS) * PANEL_COLUMNS


def panels(right_KN: Tensor) -> np.ndarray:
    """Return the matrix in panels [P, K, C]."""
    num_terms, num_columns = right_KN.shape
    panels_PKC = right_KN.new_empty(-(-num_columns // PANEL_COLUMNS), num_terms, PANEL_COLUMNS)
    share_out(_pack, len(panels_PKC), right_KN.detach().numpy(), panels_PKC.numpy(), work_ns=panels_PKC.numel())
    return panels_PKC.numpy()


@kernel()
def _pack(first, last, right_KN, panels_PKC):
    num_terms, num_columns = right_KN.shape
    for p in range(first, last):
        start = p * PANEL_COLUMNS
        width = min(PANEL_COLUMNS, num_columns - start)
        for k in range(num_terms):
            for c in range(width):
                panels_PKC[p, k, c] = right_KN[k, start + c]
            for c in range(width, PANEL_COLUMNS):
                panels_PKC[p, k, c] = 0


@kernel()
def zero_sums(num_rows, panels_PKC):
    """Return zeros [R, N] for num_rows rows of a product, filled up to whole tiles and panels."""
    num_tile_rows = -(-num_rows // ROWS_TOGETHER) * ROWS_TOGETHER
    return np.zeros((num_tile_rows, len(panels_PKC) * PANEL_COLUMNS), panels_PKC.dtype)


@kernel()
def add_product(left_RK, panels_PKC, sum_RN):
    """Add left @ right to the sum; R and N are whole tiles and panels, the left matrix may be wider than K."""
    num_panels, num_terms, _ = panels_PKC.shape
    for p in range(num_panels):
        for r in range(0, left_RK.shape[0], ROWS_TOGETHER):
            _add_tile(left_RK, r, num_terms, panels_PKC, p * num_terms * PANEL_VECTORS, PANEL_VECTORS, sum_RN, p)


def sum_over_tokens(left_QR: Tensor, right_QN: Tensor, num_columns: int) -> Tensor:
    """Return left.T @ right [R, num_columns]; the rows on the right are filled up to whole panels."""
    sum_RN = left_QR.new_empty(left_QR.shape[1], num_columns)
    share_out(
        _sum_over_tokens,
        -(-len(sum_RN) // BLOCK_ROWS),
        *arrays(left_QR, right_QN, sum_RN),
        work_ns=0.01 * left_QR.numel() * num_columns,
    )
    return sum_RN


@kernel()
def _sum_over_tokens(first, last, left_QR, right_QN, sum_RN):
    """Write blocks of rows; a block of the left matrix is copied, because its own rows are far apart."""
    (num_tokens, num_rows), width = left_QR.shape, right_QN.shape[1]
    block_KR = np.zeros((BLOCK_TERMS, BLOCK_ROWS), left_QR.dtype)
    block_RN = np.empty((BLOCK_ROWS, width), left_QR.dtype)
    for block in range(first, last):
        start = block * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, num_rows)
        block_RN[:] = 0
        for token in range(0, num_tokens, BLOCK_TERMS):
            num_terms = min(BLOCK_TERMS, num_tokens - token)
            for k in range(num_terms):
                copy(left_QR[token + k][start:stop], block_KR[k][: stop - start])
            for p in range(width // PANEL_COLUMNS):
                place = token * (width // LANES) + p * PANEL_VECTORS
                for r in range(0, BLOCK_ROWS, ROWS_TOGETHER):
                    _add_tile(block_KR.T, r, num_terms, right_QN, place, width // LANES, block_RN, p)
        for r in range(start, stop):
            copy(block_RN[r - start][: sum_RN.shape[1]], sum_RN[r])


@kernel()
def _add_tile(left_RK, r, num_terms, right, place, step, sum_RN, p):
    """Add to rows r, r + 1, ... of panel p of the sum; term k on the right stands `step` k vectors after `place`."""
    width = sum_RN.shape[1] // LANES
    target = r * width + p * PANEL_VECTORS
    a0, a1, b0, b1 = *load_pair(sum_RN, target), *load_pair(sum_RN, target + width)
    c0, c1, d0, d1 = *load_pair(sum_RN, target + 2 * width), *load_pair(sum_RN, target + 3 * width)
    for k in range(num_terms):
        right0, right1 = load_pair(right, place)
        a, b, c, d = left_RK[r, k], left_RK[r + 1, k], left_RK[r + 2, k], left_RK[r + 3, k]
        a0, b0, c0, d0 = fused(a, right0, a0), fused(b, right0, b0), fused(c, right0, c0), fused(d, right0, d0)
        a1, b1, c1, d1 = fused(a, right1, a1), fused(b, right1, b1), fused(c, right1, c1), fused(d, right1, d1)
        place += step
    store_pair(a0, a1, sum_RN, target)
    store_pair(b0, b1, sum_RN, target + width)
    store_pair(c0, c1, sum_RN, target + 2 * width)
    store_pair(d0, d1, sum_RN, target + 3 * width)
