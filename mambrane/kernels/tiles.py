"""Sums of products of vectors, a tile of them at a time: each lane multiplies its own two matrices.

A tile of QUERIES_TOGETHER x KEYS_TOGETHER (or NUMBERS_TOGETHER) sums stays in registers; it fills half of 32 registers
that hold a whole vector, or all of 16 that hold half of one. A row that is loaded serves every sum it belongs to.

Letters: P rows of queries or keys, N numbers of a row, L lanes, Q queries taken together, W rows seen by them.
"""

# ruff: noqa: ANN001, ANN201 -- Numba finds the types

from mambrane.kernels.compiled import kernel
from mambrane.kernels.quads import NUMBERS_OF_QUAD, load_quads, store_quads
from mambrane.kernels.vectors import broadcast, fma, load, store

QUERIES_TOGETHER = 4
KEYS_TOGETHER = 2
NUMBERS_TOGETHER = 2


@kernel()
def multiply_rows(left_PNL, p, right_PNL, row, num_rows, product_QWL):
    """Write the products of rows p, p + 1, ... on the left with num_rows rows on the right."""
    numbers, size = left_PNL.shape[1], product_QWL.shape[1]
    for w in range(0, num_rows, KEYS_TOGETHER):
        a0 = broadcast(left_PNL.dtype.type(0))
        b0, c0, d0, a1, b1, c1, d1 = a0, a0, a0, a0, a0, a0, a0
        offset, offset1 = (row + w) * numbers, (row + w + 1) * numbers
        for n in range(p * numbers, (p + 1) * numbers):
            right0, right1 = load(right_PNL, offset), load(right_PNL, offset1)
            a, b = load(left_PNL, n), load(left_PNL, n + numbers)
            c, d = load(left_PNL, n + 2 * numbers), load(left_PNL, n + 3 * numbers)
            a0, b0, c0, d0 = fma(a, right0, a0), fma(b, right0, b0), fma(c, right0, c0), fma(d, right0, d0)
            a1, b1, c1, d1 = fma(a, right1, a1), fma(b, right1, b1), fma(c, right1, c1), fma(d, right1, d1)
            offset, offset1 = offset + 1, offset1 + 1
        store_pair(a0, a1, product_QWL, w)
        store_pair(b0, b1, product_QWL, w + size)
        store_pair(c0, c1, product_QWL, w + 2 * size)
        store_pair(d0, d1, product_QWL, w + 3 * size)


@kernel()
def sum_rows(weight_QWL, x_PNL, row, num_rows, sum_PNL, p):
    """Write to rows p, p + 1, ... of the sum the weighted sums of num_rows rows of x."""
    numbers, size = x_PNL.shape[1], weight_QWL.shape[1]
    for n in range(0, numbers, NUMBERS_TOGETHER):
        a0 = broadcast(x_PNL.dtype.type(0))
        b0, c0, d0, a1, b1, c1, d1 = a0, a0, a0, a0, a0, a0, a0
        offset = row * numbers + n
        for w in range(num_rows):
            x0, x1 = load(x_PNL, offset), load(x_PNL, offset + 1)
            a, b = load(weight_QWL, w), load(weight_QWL, w + size)
            c, d = load(weight_QWL, w + 2 * size), load(weight_QWL, w + 3 * size)
            a0, b0, c0, d0 = fma(a, x0, a0), fma(b, x0, b0), fma(c, x0, c0), fma(d, x0, d0)
            a1, b1, c1, d1 = fma(a, x1, a1), fma(b, x1, b1), fma(c, x1, c1), fma(d, x1, d1)
            offset += numbers
        offset = p * numbers + n
        store_pair(a0, a1, sum_PNL, offset)
        store_pair(b0, b1, sum_PNL, offset + numbers)
        store_pair(c0, c1, sum_PNL, offset + 2 * numbers)
        store_pair(d0, d1, sum_PNL, offset + 3 * numbers)


@kernel()
def add_products(factor_QWL, x_PNL, p, row, num_rows, sum_PNL):
    """Add to num_rows rows of the sum rows p, p + 1, ... of x, each times its factor for that row."""
    numbers, size = x_PNL.shape[1], factor_QWL.shape[1]
    for n in range(0, numbers, NUMBERS_TOGETHER):
        offset = p * numbers + n
        a0, a1 = load_pair(x_PNL, offset)
        b0, b1 = load_pair(x_PNL, offset + numbers)
        c0, c1 = load_pair(x_PNL, offset + 2 * numbers)
        d0, d1 = load_pair(x_PNL, offset + 3 * numbers)
        offset = row * numbers + n
        for w in range(num_rows):
            a, b = load(factor_QWL, w), load(factor_QWL, w + size)
            c, d = load(factor_QWL, w + 2 * size), load(factor_QWL, w + 3 * size)
            sum0, sum1 = load(sum_PNL, offset), load(sum_PNL, offset + 1)
            sum0, sum1 = fma(a, a0, sum0), fma(a, a1, sum1)
            sum0, sum1 = fma(b, b0, sum0), fma(b, b1, sum1)
            sum0, sum1 = fma(c, c0, sum0), fma(c, c1, sum1)
            sum0, sum1 = fma(d, d0, sum0), fma(d, d1, sum1)
            store_pair(sum0, sum1, sum_PNL, offset)
            offset += numbers


@kernel()
def load_pair(rows_WL, w):
    """Return rows w and w + 1."""
    return load(rows_WL, w), load(rows_WL, w + 1)


@kernel()
def store_pair(first, second, rows_WL, w):
    """Write rows w and w + 1."""
    store(first, rows_WL, w)
    store(second, rows_WL, w + 1)


@kernel()
def bring_into_lanes(x_I, start, numbers, scale, rows_PNL, p):
    """Write to row p the numbers of each lane, times scale: whole quads; those of lane l start at start + l numbers."""
    for n in range(0, numbers, NUMBERS_OF_QUAD):
        first, second, third, fourth = load_quads(x_I, start + n, numbers)
        offset = p * rows_PNL.shape[1] + n
        store_pair(first * scale, second * scale, rows_PNL, offset)
        store_pair(third * scale, fourth * scale, rows_PNL, offset + 2)


@kernel()
def take_out_of_lanes(rows_PNL, p, scale, x_I, start, numbers):
    """Write row p, times scale, back to where `bring_into_lanes` has it from."""
    for n in range(0, numbers, NUMBERS_OF_QUAD):
        offset = p * rows_PNL.shape[1] + n
        first, second = load_pair(rows_PNL, offset)
        third, fourth = load_pair(rows_PNL, offset + 2)
        store_quads((first * scale, second * scale, third * scale, fourth * scale), x_I, start + n, numbers)
