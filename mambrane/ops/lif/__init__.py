"""Leaky integrate-and-fire neurons over time: currents in, spikes out. The formula is in `reference.py`."""

from typing import get_args

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Currents, Resets
from mambrane.ops.checks import Arguments, require_number, require_option
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.lif.reference import LifOutput, Reset, Surrogate

__all__ = ["LifOutput", "Reset", "Surrogate", "lif"]

_run = Operation("lif")
_RESETS, _SURROGATES = get_args(Reset), get_args(Surrogate)
_check = Arguments("lif", current_BTS="B T S", decay="S | B T S", state_BS="B S?", resets_BT="bool B T?")


def lif(
    current_BTS: Currents,
    decay: Float[Tensor, " S"] | Float[Tensor, "B T S"],
    *,
    threshold: float = 1.0,
    state_BS: Float[Tensor, "B S"] | None = None,
    resets_BT: Resets | None = None,
    reset: Reset = "subtract",
    detach_reset: bool = False,
    surrogate: Surrogate = "fast_sigmoid",
    surrogate_slope: float = 5.0,
    keep_membranes: bool = False,
    backend: Backend = "auto",
) -> LifOutput:
    """Run leaky integrate-and-fire neurons over T tokens; gradients flow to current, decay and state.

    Args:
        current_BTS: input current, in units of membrane potential per token.
        decay: part of the membrane kept per token, exp(-1 / tau_tokens); one per unit [S] or per token [B, T, S].
        threshold: membrane potential at which a neuron fires; positive.
        state_BS: membrane after the reset of the token before the first; zero where not given.
        resets_BT: True where a document starts: the membrane is set to zero before this token.
        reset: "subtract" the threshold at a spike, or set the membrane to "zero".
        detach_reset: stop the gradient through the reset.
        surrogate: derivative that stands for the one of the spike, "fast_sigmoid" or "atan".
        surrogate_slope: steepness of the surrogate, per unit of membrane potential; positive.
        keep_membranes: return the membranes too; a tensor as large as the spikes, written only on request.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        Spikes [B, T, S], membranes before the reset [B, T, S] or None, and the last state [B, S], all differentiable.

    Example:
        >>> import torch
        >>> current = torch.full((1, 4, 1), 0.6)
        >>> lif(current, torch.tensor([0.9])).spikes_BTS.flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    _check(current_BTS, decay, state_BS, resets_BT)
    require_number("lif", "threshold", threshold, 0.0, excludes=0.0)
    require_number("lif", "surrogate_slope", surrogate_slope, 0.0, excludes=0.0)
    require_option("lif", "reset", reset, _RESETS)
    require_option("lif", "surrogate", surrogate, _SURROGATES)
    require_option("lif", "detach_reset", detach_reset, (False, True))
    require_option("lif", "keep_membranes", keep_membranes, (False, True))
    return _run(
        backend,
        current_BTS,
        decay,
        threshold=threshold,
        state_BS=state_BS,
        resets_BT=resets_BT,
        reset=reset,
        detach_reset=detach_reset,
        surrogate=surrogate,
        surrogate_slope=surrogate_slope,
        keep_membranes=keep_membranes,
    )
