"""State-space duality (SSD), the recurrence of Mamba version 2. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.ssd.chunked import CHUNK_TOKENS

__all__ = ["CHUNK_TOKENS", "ssd"]

_run = Operation("ssd")
_check = Arguments(
    "ssd",
    x_BTHP="B T H P",
    delta_BTH="B T H",
    A_H="H",
    B_BTN="B T N",
    C_BTN="B T N",
    skip_H="H?",
    state_BHPN="B H P N?",
    resets_BT="bool B T?",
)


def ssd(
    x_BTHP: Float[Tensor, "B T H P"],
    delta_BTH: Float[Tensor, "B T H"],
    A_H: Float[Tensor, " H"],
    B_BTN: Float[Tensor, "B T N"],
    C_BTN: Float[Tensor, "B T N"],
    *,
    skip_H: Float[Tensor, " H"] | None = None,
    state_BHPN: Float[Tensor, "B H P N"] | None = None,
    resets_BT: Resets | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H P N"]]:
    """Scan T tokens with one decay for each head; gradients flow to all seven tensors.

    Args:
        x_BTHP: input of each of P channels of each head.
        delta_BTH: step size of each head, positive; 0 keeps the state and ignores the input (padding).
        A_H: rate of each head, negative; its state decays by exp(delta * A).
        B_BTN: how the input enters the states, the same for all heads.
        C_BTN: how the states are read, the same for all heads.
        skip_H: D, how much of the input of each head is added to its output; nothing where not given.
        state_BHPN: state after the token before the first; zero where not given.
        resets_BT: True where a document starts: the state is set to zero before this token.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        y [B, T, H, P] in the type of x, and the last state [B, H, P, N] (float32, or float64 for float64 input).

    Example:
        >>> import torch
        >>> x, one = torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1)
        >>> y, state = ssd(x, one, torch.tensor([-100.0]), one, one)
        >>> y.flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    _check(x_BTHP, delta_BTH, A_H, B_BTN, C_BTN, skip_H, state_BHPN, resets_BT)
    return _run(
        backend, x_BTHP, delta_BTH, A_H, B_BTN, C_BTN, skip_H=skip_H, state_BHPN=state_BHPN, resets_BT=resets_BT
    )
