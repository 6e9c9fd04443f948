"""Leaky integrate-and-fire neurons over time, in plain PyTorch: the definition that faster backends must match.

    v'[t] = decay * v[t-1] + i[t]           membrane before the reset
    z[t]  = 1 if v'[t] >= threshold else 0  spike
    v[t]  = v'[t] - threshold * z[t]        (reset "subtract")
    v[t]  = v'[t] * (1 - z[t])              (reset "zero")

The step has no useful derivative; the backward pass uses a surrogate of x = v'[t] - threshold:

    fast_sigmoid  1 / (1 + slope * |x|)^2
    atan          (slope / 2) / (1 + (pi / 2 * slope * x)^2)

Sources: Gerstner, Kistler, Naud, Paninski, Neuronal Dynamics (2014), sections 1.3 and 5.1, in discrete time;
surrogates: Neftci, Mostafa, Zenke, IEEE Signal Processing Magazine 36 (2019); Fang et al., arXiv 2007.05785.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Currents, Membranes, Resets, Spikes

Reset = Literal["subtract", "zero"]
Surrogate = Literal["fast_sigmoid", "atan"]


class LifOutput(NamedTuple):
    """What a population of neurons did, and where it stands."""

    spikes_BTS: Spikes
    """Exactly 0 or 1, in the type of the current."""
    membrane_BTS: Membranes | None
    """v' before the reset, in the type of the current; None where it was not asked for."""
    state_BS: Float[Tensor, "B S"]
    """v after the reset at the last token; float32, or float64 for a float64 current."""


def lif_reference(
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
) -> LifOutput:
    """Return spikes, membranes and the last state; arguments as in `mambrane.ops.lif.lif`."""
    dtype = current_BTS.dtype
    inner = torch.promote_types(dtype, torch.float32)
    current_BTS, decay_BTS = current_BTS.to(inner), decay.to(inner).expand_as(current_BTS)
    v_BS = torch.zeros_like(current_BTS[:, 0]) if state_BS is None else state_BS.to(inner)
    spikes, membranes = [], []
    for t in range(current_BTS.shape[1]):
        if resets_BT is not None:
            v_BS = v_BS.masked_fill(resets_BT[:, t, None], 0.0)
        before_BS = decay_BTS[:, t] * v_BS + current_BTS[:, t]
        spike_BS = _Spike.apply(before_BS - threshold, surrogate, surrogate_slope)
        fired_BS = spike_BS.detach() if detach_reset else spike_BS
        v_BS = before_BS - threshold * fired_BS if reset == "subtract" else before_BS * (1.0 - fired_BS)
        spikes.append(spike_BS)
        membranes.append(before_BS)
    membrane_BTS = torch.stack(membranes, dim=1).to(dtype) if keep_membranes else None
    return LifOutput(torch.stack(spikes, dim=1).to(dtype), membrane_BTS, v_BS)


class _Spike(torch.autograd.Function):
    """The step function, with the derivative of a surrogate."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Surrogate, slope: float) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401 -- torch's own
        x, context.surrogate, context.slope = inputs
        context.save_for_backward(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 -- torch's own
        (x,) = context.saved_tensors
        return gradient * surrogate_derivative(x, context.surrogate, context.slope), None, None


def surrogate_derivative(x: Tensor, surrogate: Surrogate, slope: float) -> Tensor:
    """Return what stands for the derivative of the spike at x = v' - threshold."""
    if surrogate == "fast_sigmoid":
        return 1.0 / (1.0 + slope * x.abs()) ** 2
    return (slope / 2) / (1.0 + (math.pi / 2 * slope * x) ** 2)
