"""Functions of single numbers whose bits do not depend on how many neighbours a number has in its tensor.

PyTorch computes sigmoid and softplus in vector instructions, and what does not fill the last vectors by other code
that rounds differently. A text in pieces has other last vectors than the whole; here the tensor is filled up first.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.ops.softplus import softplus as softplus_of_any_shape

WHOLE_VECTORS = 64
"""Numbers that one turn of PyTorch's loop takes at most: four vectors of 16 float32 numbers."""


def sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)), in the shape of x."""
    return _in_whole_vectors(torch.sigmoid, x)


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), in the shape of x."""
    return _in_whole_vectors(softplus_of_any_shape, x)


def _in_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    missing = -x.numel() % WHOLE_VECTORS
    if missing == 0:
        return function(x)
    return function(F.pad(x.flatten(), (0, missing)))[: x.numel()].view(x.shape)
