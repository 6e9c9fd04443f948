"""Softplus, which makes step sizes positive. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["softplus"]

_run = Operation("softplus")
_check = Arguments("softplus", x="... D")


def softplus(x: Float[Tensor, "*rows D"], *, backend: Backend = "auto") -> Float[Tensor, "*rows D"]:
    """Return log(1 + exp(x)), in the shape and type of x; gradients flow to it.

    Args:
        x: any numbers.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Example:
        >>> import torch
        >>> [round(number, 4) for number in softplus(torch.tensor([0.0, 30.0])).tolist()]
        [0.6931, 30.0]
    """
    _check(x)
    return _run(backend, x)
