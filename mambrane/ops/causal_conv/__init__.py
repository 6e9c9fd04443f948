"""Causal depthwise convolution with SiLU, the short memory in front of Mamba's scan. Formula in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.ops.causal_conv.reference import Activation
from mambrane.ops.checks import Arguments, require_option
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["Activation", "causal_conv"]

_run = Operation("causal_conv")
_check = Arguments(
    "causal_conv", x_BTE="B T E", weight_EK="E K", bias_E="E", state_BEK="B E K-1?", resets_BT="bool B T?"
)


def causal_conv(
    x_BTE: Float[Tensor, "B T E"],
    weight_EK: Float[Tensor, "E K"],
    bias_E: Float[Tensor, " E"],
    *,
    state_BEK: Float[Tensor, "B E K-1"] | None = None,
    resets_BT: Resets | None = None,
    activation: Activation = "silu",
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E K-1"]]:
    """Filter each channel over its last K tokens; gradients flow to x, weight, bias and state.

    Args:
        x_BTE: input of each channel.
        weight_EK: taps of each channel, the newest input last; `torch.nn.Conv1d.weight` without its middle axis.
        bias_E: added before the activation.
        state_BEK: the K-1 inputs before the first token, oldest first; zero where not given.
        resets_BT: True where a document starts: earlier inputs count as zero from this token on.
        activation: "silu", or None for the bare filter.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        y [B, T, E] in the type of x, and the last K-1 inputs [B, E, K-1] (float32, or float64 for float64 input).

    Example:
        >>> import torch
        >>> x = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> y, state = causal_conv(x, torch.tensor([[10.0, 1.0]]), torch.zeros(1), activation=None)
        >>> y.flatten().tolist(), state.flatten().tolist()
        ([1.0, 12.0, 23.0], [3.0])
    """
    _check(x_BTE, weight_EK, bias_E, state_BEK, resets_BT)
    require_option("causal_conv", "activation", activation, ("silu", None))
    return _run(backend, x_BTE, weight_EK, bias_E, state_BEK=state_BEK, resets_BT=resets_BT, activation=activation)
