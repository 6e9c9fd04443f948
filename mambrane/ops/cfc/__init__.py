"""Closed-form continuous-time cell (CfC) over time: inputs in, states out. The formula is in `reference.py`."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.kernels.autocast import without_autocast
from mambrane.ops.cfc.reference import CfcOutput, CfcWeights
from mambrane.ops.checks import Arguments, require_kind
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["CfcOutput", "CfcWeights", "cfc"]

_run = Operation("cfc")
_HEADS: dict[str, Any] = {
    f"{head}_{part}": shape
    for head in ("ff1", "ff2", "time_a", "time_b")
    for part, shape in (("weight", "L U"), ("bias", "L"))
}
_check = Arguments(
    "cfc",
    x_BTI="B T I",
    **_HEADS,
    backbone_weight="U I+L",
    backbone_bias="U",
    state_BL="B L?",
    resets_BT="bool B T?",
    elapsed_BT="B T | B T L?",
)


def cfc(
    x_BTI: Float[Tensor, "B T I"],
    weights: CfcWeights,
    *,
    state_BL: Float[Tensor, "B L"] | None = None,
    resets_BT: Resets | None = None,
    elapsed_BT: Float[Tensor, "B T"] | Float[Tensor, "B T L"] | None = None,
    backend: Backend = "auto",
) -> CfcOutput:
    """Run a CfC cell over T tokens; gradients flow to input, weights, state and elapsed time.

    Args:
        x_BTI: input of the cell.
        weights: the cell's parameters; shapes in `CfcWeights`.
        state_BL: state after the token before the first; zero where not given.
        resets_BT: True where a document starts: the state is set to zero before this token.
        elapsed_BT: time since the token before, unitless; one for each token [B, T], or for each token and unit
            [B, T, L]; 1 where not given. Twice the time is half the time constant.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The state after each token [B, T, L] and after the last one [B, L], both differentiable.

    Example:
        >>> import torch
        >>> ones = {"backbone_weight": (4, 5), "backbone_bias": (4,)}
        >>> for head in ("ff1", "ff2", "time_a", "time_b"):
        ...     ones |= {f"{head}_weight": (2, 4), f"{head}_bias": (2,)}
        >>> weights = CfcWeights(**{name: torch.ones(shape) for name, shape in ones.items()})
        >>> cfc(torch.zeros(1, 3, 3), weights).hidden_BTL.shape
        torch.Size([1, 3, 2])
    """
    require_kind("cfc", "weights", weights, CfcWeights)
    _check(x_BTI, *weights[2:], *weights[:2], state_BL, resets_BT, elapsed_BT)
    # Mixed precision is for the layers around the cell: the state is computed in float32.
    with without_autocast(x_BTI.device):
        return _run(backend, x_BTI, weights, state_BL=state_BL, resets_BT=resets_BT, elapsed_BT=elapsed_BT)
