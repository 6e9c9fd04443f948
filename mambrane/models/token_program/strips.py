"""Reading and writing a whole vector anywhere in the memory of a program."""

# ruff: noqa: ANN001, ANN201 -- Numba finds the types of kernels

from mambrane.kernels.compiled import kernel
from mambrane.kernels.vectors import LANES, load_strip, store_strip, zeros


@kernel(fuses=False)
def load(memory, start):
    """Return the vector that begins there."""
    return load_strip(zeros(memory, LANES), memory, start)


@kernel(fuses=False)
def store(memory, start, vector):
    """Write a vector there."""
    store_strip(vector, memory, start)
