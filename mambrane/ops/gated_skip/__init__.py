"""What Mamba does between its scan and its last projection. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["gated_skip"]

_run = Operation("gated_skip")
_check = Arguments("gated_skip", y_BTE="B T E", x_BTE="B T E", skip_E="E", gate_BTE="B T E")


def gated_skip(
    y_BTE: Float[Tensor, "B T E"],
    x_BTE: Float[Tensor, "B T E"],
    skip_E: Float[Tensor, " E"],
    gate_BTE: Float[Tensor, "B T E"],
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "B T E"]:
    """Return (y + D x) silu(gate); gradients flow to all four.

    Args:
        y_BTE: output of the scan.
        x_BTE: its input.
        skip_E: D, how much of the input passes by the scan.
        gate_BTE: the other half of the first projection.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The gated output [B, T, E], in the type of y.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1, 1)
        >>> round(gated_skip(one, one, torch.tensor([2.0]), one).item(), 4)
        2.1932
    """
    _check(y_BTE, x_BTE, skip_E, gate_BTE)
    return _run(backend, y_BTE, x_BTE, skip_E, gate_BTE)
