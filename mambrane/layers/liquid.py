"""Liquid cells as the second population: closed-form continuous-time (CfC) and liquid time-constant (LTC) cells.

`time_scale` multiplies a unit's time constant, so the time that passes in a token is 1 / time_scale.
The operations are `mambrane.ops.cfc` and `mambrane.ops.ltc`; initial values are those of ncps 1.0.1.
Source: Hasani et al. 2022, arXiv 2106.13898 (CfC); Hasani et al. 2021, arXiv 2006.04439 (LTC).
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambrane.core.shapes import Currents, Resets
from mambrane.core.weight_decay import exempt_from_weight_decay
from mambrane.layers.cost import ComponentCost, macs, num_parameters
from mambrane.ops.cfc import CfcWeights, cfc
from mambrane.ops.ltc import NUM_UNFOLDS, LtcWeights, ltc


class LiquidOutput(NamedTuple):
    """What a liquid population returns."""

    hidden_BTL: Tensor
    state_BL: Tensor


class LiquidPopulation(nn.Module):
    """Liquid units whose input is the current of the plastic synapse; as many inputs as units."""

    def __init__(self, units: int, *, kind: Literal["cfc", "ltc"]) -> None:
        super().__init__()
        self.units = units
        self.cell = CfcCell(units, units) if kind == "cfc" else LtcCell(units, units)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the cell's initial weights."""
        self.cell.reset_parameters(generator)

    def forward(
        self,
        current_BTS: Currents,
        *,
        state_BS: Tensor | None = None,
        resets_BT: Resets | None = None,
        time_scale_BTS: Tensor | None = None,
    ) -> LiquidOutput:
        """Return the hidden state at every tick and after the last one."""
        elapsed_BTL = None if time_scale_BTS is None else 1.0 / time_scale_BTS
        return LiquidOutput(*self.cell(current_BTS, state_BS, resets_BT, elapsed_BTL))

    def cost(self, name: str, *, ticks_per_token: int) -> ComponentCost:
        """Return what the cell costs; its products are dense."""
        cell_macs, updates = self.cell.macs_and_updates_per_tick()
        return ComponentCost(
            name=name,
            parameters=num_parameters(self),
            dense_macs_per_token=cell_macs * ticks_per_token,
            state_updates_per_token=updates * ticks_per_token,
            state_numbers=self.units,
        )


class CfcCell(nn.Module):
    """Parameters of a CfC cell with one backbone layer."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.backbone = nn.Linear(inputs + units, units)
        self.ff1 = nn.Linear(units, units)
        self.ff2 = nn.Linear(units, units)
        self.time_a = nn.Linear(units, units)
        self.time_b = nn.Linear(units, units)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Xavier-uniform weights, zero biases."""
        with torch.no_grad():
            for layer in (self.backbone, self.ff1, self.ff2, self.time_a, self.time_b):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                layer.bias.zero_()

    def forward(self, x_BTI: Tensor, state_BL: Tensor | None, resets_BT: Tensor | None, elapsed: Tensor | None):  # noqa: ANN201
        """Return the hidden states [B, T, L] and the last one [B, L]."""
        layers = (self.backbone, self.ff1, self.ff2, self.time_a, self.time_b)
        weights = CfcWeights(*(tensor for layer in layers for tensor in (layer.weight, layer.bias)))
        return cfc(x_BTI, weights, state_BL=state_BL, resets_BT=resets_BT, elapsed_BT=elapsed)

    def macs_and_updates_per_tick(self) -> tuple[float, float]:
        """Return the multiply-accumulates of the products, and those of the state."""
        layers = (self.backbone, self.ff1, self.ff2, self.time_a, self.time_b)
        return macs(*layers), 2.0 * self.ff1.out_features


class LtcCell(nn.Module):
    """Parameters of a fully connected LTC cell.

    Conductances and capacitances are the softplus of what is learned, so that they stay positive.
    """

    POSITIVE = ("sensory_w", "w", "cm", "gleak")
    INITIAL_RANGE = {
        "sensory_w": (0.001, 1.0),
        "sensory_mu": (0.3, 0.8),
        "sensory_sigma": (3.0, 8.0),
        "w": (0.001, 1.0),
        "mu": (0.3, 0.8),
        "sigma": (3.0, 8.0),
        "cm": (0.4, 0.6),
        "gleak": (0.001, 1.0),
        "vleak": (-0.2, 0.2),
    }

    input_weight: nn.Parameter
    input_bias: nn.Parameter
    sensory_w: nn.Parameter
    sensory_erev: nn.Parameter
    w: nn.Parameter
    erev: nn.Parameter
    cm: nn.Parameter

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        shapes: dict[str, tuple[int, ...]] = {"input_weight": (inputs,), "input_bias": (inputs,)}
        shapes |= {f"sensory_{name}": (inputs, units) for name in ("w", "mu", "sigma", "erev")}
        shapes |= dict.fromkeys(("w", "mu", "sigma", "erev"), (units, units))
        shapes |= dict.fromkeys(("cm", "gleak", "vleak"), (units,))
        for name, shape in shapes.items():
            parameter = nn.Parameter(torch.ones(shape))
            exempt_from_weight_decay(parameter)
            self.register_parameter(name, parameter)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw from the published ranges; reversal potentials are -1 or 1, the input mapping is the identity."""
        with torch.no_grad():
            self.input_weight.fill_(1.0)
            self.input_bias.zero_()
            for name, (low, high) in self.INITIAL_RANGE.items():
                parameter = getattr(self, name)
                parameter.uniform_(low, high, generator=generator)
                if name in self.POSITIVE:
                    parameter.copy_(parameter + torch.log(-torch.expm1(-parameter)))
            for erev in (self.erev, self.sensory_erev):
                erev.copy_(2.0 * torch.randint(0, 2, erev.shape, generator=generator) - 1.0)

    def forward(self, x_BTI: Tensor, state_BL: Tensor | None, resets_BT: Tensor | None, elapsed: Tensor | None):  # noqa: ANN201
        """Return the hidden states [B, T, L] and the last one [B, L]."""
        return ltc(x_BTI, self.positive_weights(), state_BL=state_BL, resets_BT=resets_BT, elapsed_BT=elapsed)

    def positive_weights(self) -> LtcWeights:
        """Return the parameters as the equations take them: conductances and capacitances are positive."""
        values = {
            name: F.softplus(parameter) if name in self.POSITIVE else parameter
            for name, parameter in self.named_parameters()
        }
        return LtcWeights(**values)

    def macs_and_updates_per_tick(self) -> tuple[float, float]:
        """Return the multiply-accumulates of the synapses, and those of the state.

        A synapse has an opening, a conductance and a pull: once for each unfold, a sensory one once a tick.
        """
        return (
            3.0 * (self.w.numel() * NUM_UNFOLDS + self.sensory_w.numel()),
            4.0 * self.cm.numel() * NUM_UNFOLDS,
        )
