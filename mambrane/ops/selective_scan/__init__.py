"""Selective scan (S6), the recurrence of Mamba version 1. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["selective_scan"]

_run = Operation("selective_scan")
_check = Arguments(
    "selective_scan",
    x_BTE="B T E",
    delta_BTE="B T E",
    A_EN="E N",
    B_BTN="B T N",
    C_BTN="B T N",
    state_BEN="B E N?",
    resets_BT="bool B T?",
)


def selective_scan(
    x_BTE: Float[Tensor, "B T E"],
    delta_BTE: Float[Tensor, "B T E"],
    A_EN: Float[Tensor, "E N"],
    B_BTN: Float[Tensor, "B T N"],
    C_BTN: Float[Tensor, "B T N"],
    *,
    state_BEN: Float[Tensor, "B E N"] | None = None,
    resets_BT: Resets | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E N"]]:
    """Scan T tokens with input-dependent step size, input and output; gradients flow to all six tensors.

    Args:
        x_BTE: input of each channel.
        delta_BTE: step size, positive; 0 keeps the state and ignores the input (padding).
        A_EN: rate of each state, negative; the state decays by exp(delta * A).
        B_BTN: how the input enters the states.
        C_BTN: how the states are read.
        state_BEN: state after the token before the first; zero where not given.
        resets_BT: True where a document starts: the state is set to zero before this token.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        y [B, T, E] in the type of x, and the last state [B, E, N] (float32, or float64 for float64 input).

    Example:
        >>> import torch
        >>> one = torch.ones(1, 3, 1)
        >>> y, state = selective_scan(one, one, torch.tensor([[-100.0]]), one, one)
        >>> y.flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    _check(x_BTE, delta_BTE, A_EN, B_BTN, C_BTN, state_BEN, resets_BT)
    return _run(backend, x_BTE, delta_BTE, A_EN, B_BTN, C_BTN, state_BEN=state_BEN, resets_BT=resets_BT)
