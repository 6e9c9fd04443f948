"""What Mamba 2 does between scan and last projection: gate and norm in one. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.ops.checks import Arguments, require_number
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["gated_norm"]

_run = Operation("gated_norm")
_check = Arguments("gated_norm", y_BTE="B T E", gate_BTE="B T E", weight_E="E")


def gated_norm(
    y_BTE: Float[Tensor, "B T E"],
    gate_BTE: Float[Tensor, "B T E"],
    weight_E: Float[Tensor, " E"],
    *,
    eps: float = 1e-5,
    groups: int = 1,
    backend: Backend = "auto",
) -> Float[Tensor, "B T E"]:
    """Return y silu(gate) over its root mean square, times a weight; gradients flow to all three.

    Args:
        y_BTE: output of the scan, with the skip.
        gate_BTE: a part of the first projection.
        weight_E: a factor for each number.
        eps: added to the mean of the squares.
        groups: parts of equal width, each with a mean of its own.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The normalised numbers [B, T, E], in the type of y.

    Raises:
        UserError: the width is not a multiple of the groups, or an argument does not fit the others.

    Example:
        >>> import torch
        >>> y, gate = torch.tensor([[[3.0, 4.0]]]), torch.ones(1, 1, 2)
        >>> [round(number, 4) for number in gated_norm(y, gate, torch.ones(2), eps=0.0).flatten().tolist()]
        [0.8485, 1.1314]
    """
    width = _check(y_BTE, gate_BTE, weight_E)["E"]
    require_number("gated_norm", "eps", eps, 0.0)
    if groups < 1 or width % groups:
        raise UserError(
            f"gated_norm: {groups} groups of {width} numbers",
            wanted="groups of equal width",
            way_out=f"a divisor of {width}",
        )
    return _run(backend, y_BTE, gate_BTE, weight_E, eps=eps, groups=groups)
