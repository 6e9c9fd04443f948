"""Causal exponential trace: the leaky average of the past. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.ops.checks import Arguments, require_number
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["causal_trace"]

_run = Operation("causal_trace")
_check = Arguments("causal_trace", x_BTS="B T S", decay="S?", state_BS="B S?", resets_BT="bool B T?")


def causal_trace(
    x_BTS: Float[Tensor, "B T S"],
    decay: float | Float[Tensor, " S"],
    *,
    state_BS: Float[Tensor, "B S"] | None = None,
    resets_BT: Resets | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T S"], Float[Tensor, "B S"]]:
    """Return the leaky average of x over the tokens so far; gradients flow to x, decay and state.

    Args:
        x_BTS: what is averaged, for example spikes.
        decay: part of the trace kept per token, exp(-1 / tau_tokens); one number from 0 to 1, or one per unit [S].
        state_BS: trace at the token before the first; zero where not given.
        resets_BT: True where a document starts: the trace is set to zero before this token.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The trace [B, T, S] in the type of x, and its last value [B, S] (float32, or float64 for float64 input).

    Example:
        >>> import torch
        >>> trace, last = causal_trace(torch.ones(1, 3, 1), 0.5)
        >>> trace.flatten().tolist()
        [0.5, 0.75, 0.875]
    """
    _check(x_BTS, decay if isinstance(decay, Tensor) else None, state_BS, resets_BT)
    if not isinstance(decay, Tensor):
        require_number("causal_trace", "decay", decay, 0.0, 1.0)
    return _run(backend, x_BTS, decay, state_BS=state_BS, resets_BT=resets_BT)
