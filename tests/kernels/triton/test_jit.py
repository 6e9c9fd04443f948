"""A function becomes a kernel without what the tests have put around it."""

import functools

import pytest

pytest.importorskip("triton")

from mambrane.kernels.triton.jit import kernel


def plain(pointer, size):
    """Do nothing."""


@functools.wraps(plain)
def checked(*arguments):
    raise AssertionError("the checked function must not be compiled")


def test_the_bare_function_is_compiled():
    assert kernel(checked).fn is plain
