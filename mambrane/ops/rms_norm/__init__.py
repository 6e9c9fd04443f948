"""Normalisation by the root mean square. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.ops.checks import Arguments, require_number
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["rms_norm"]

_run = Operation("rms_norm")
_check = Arguments("rms_norm", x="... D", weight_D="D?")


def rms_norm(
    x: Float[Tensor, "*rows D"],
    weight_D: Float[Tensor, " D"] | None = None,
    *,
    eps: float = 1e-5,
    backend: Backend = "auto",
) -> Float[Tensor, "*rows D"]:
    """Return x over the root mean square of its last dimension, times a weight; gradients flow to both.

    Args:
        x: any shape, of D numbers in the last dimension.
        weight_D: a factor for each number; 1 where not given.
        eps: added to the mean of the squares.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The normalised x, in its type.

    Example:
        >>> import torch
        >>> [round(number, 4) for number in rms_norm(torch.tensor([3.0, 4.0]), eps=0.0).tolist()]
        [0.8485, 1.1314]
    """
    _check(x, weight_D)
    require_number("rms_norm", "eps", eps, 0.0)
    return _run(backend, x, weight_D, eps=eps)
