"""Sum of outer products, the gradient of a weight: for use inside backward passes. The formula is in `reference.py`."""

import torch
from torch import Tensor

from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["sum_of_outer_products"]

_run = Operation("sum_of_outer_products")
_check = Arguments("sum_of_outer_products", mixes_types=False, left_BO="B O", right_BI="B I")


def sum_of_outer_products(left_BO: Tensor, right_BI: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Return left^T right [O, I]; no gradient flows.

    Args:
        left_BO: gradients of the outputs of an affine map, a row for each token.
        right_BI: its inputs.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Example:
        >>> import torch
        >>> sum_of_outer_products(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])).tolist()
        [[13.0, 16.0]]
    """
    # torch's compiler cannot ask a gradient in a backward pass whether it is nested.
    if not torch.compiler.is_compiling():
        _check(left_BO, right_BI)
    return _run(backend, left_BO, right_BI)
