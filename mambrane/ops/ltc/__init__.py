"""Liquid time-constant cell (LTC) over time: inputs in, states out. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.kernels.autocast import without_autocast
from mambrane.ops.checks import Arguments, require_kind
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.ltc.reference import NUM_UNFOLDS, LtcOutput, LtcWeights

__all__ = ["NUM_UNFOLDS", "LtcOutput", "LtcWeights", "ltc"]

_run = Operation("ltc")
_check = Arguments(
    "ltc",
    x_BTI="B T I",
    input_weight="I",
    input_bias="I",
    sensory_w="I L",
    sensory_mu="I L",
    sensory_sigma="I L",
    sensory_erev="I L",
    w="L L",
    mu="L L",
    sigma="L L",
    erev="L L",
    cm="L",
    gleak="L",
    vleak="L",
    state_BL="B L?",
    resets_BT="bool B T?",
    elapsed_BT="B T | B T L?",
)


def ltc(
    x_BTI: Float[Tensor, "B T I"],
    weights: LtcWeights,
    *,
    state_BL: Float[Tensor, "B L"] | None = None,
    resets_BT: Resets | None = None,
    elapsed_BT: Float[Tensor, "B T"] | Float[Tensor, "B T L"] | None = None,
    backend: Backend = "auto",
) -> LtcOutput:
    """Run an LTC cell over T tokens, 6 semi-implicit steps each; gradients flow to all but the resets.

    Args:
        x_BTI: input of the cell.
        weights: the cell's parameters; shapes in `LtcWeights`. Conductances and capacitances are the positive values
            themselves, not the free parameters behind them.
        state_BL: state after the token before the first; zero where not given.
        resets_BT: True where a document starts: the state is set to zero before this token.
        elapsed_BT: time since the token before, unitless and positive; one for each token [B, T], or for each token
            and unit [B, T, L]; 1 where not given. Twice the time is half the time constant.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The state after each token [B, T, L] and after the last one [B, L], both differentiable.

    Example:
        >>> import torch
        >>> names = [side + name for side in ("", "sensory_") for name in ("w", "mu", "sigma", "erev")]
        >>> synapses = {name: torch.ones(2, 2) for name in names}
        >>> units = {name: torch.ones(2) for name in ("input_weight", "input_bias", "cm", "gleak", "vleak")}
        >>> ltc(torch.zeros(1, 3, 2), LtcWeights(**synapses, **units)).hidden_BTL.shape
        torch.Size([1, 3, 2])
    """
    require_kind("ltc", "weights", weights, LtcWeights)
    _check(x_BTI, *weights, state_BL, resets_BT, elapsed_BT)
    # Mixed precision is for the layers around the cell: the state is computed in float32.
    with without_autocast(x_BTI.device):
        return _run(backend, x_BTI, weights, state_BL=state_BL, resets_BT=resets_BT, elapsed_BT=elapsed_BT)
