"""Reading and writing a whole vector anywhere in the memory of a program, and the offset that is none."""

# ruff: noqa: ANN001, ANN201 -- Numba finds the types of kernels

from mambrane.kernels.compiled import kernel
from mambrane.kernels.vectors import LANES, load_strip, store_strip, zeros

NOWHERE = -1
"""An offset of something that is not there: no bias, no weight, no time scale."""


@kernel(fuses=False)
def load(memory, start):
    """Return the vector that begins there."""
    return load_strip(zeros(memory, LANES), memory, start)


@kernel(fuses=False)
def store(memory, start, vector):
    """Write a vector there."""
    store_strip(vector, memory, start)
