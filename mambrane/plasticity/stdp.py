"""Spike-timing-dependent plasticity of the plastic synapses, once after each applied window.

    w <- w + eta exp(-|m w|) (potentiation - depression)            kept inside [-w_max, w_max]

potentiation and depression are those of a rule (`rules.py`), summed over the spikes the two populations emitted in the
window and divided by its tokens; eta is the learning rate. Soft bounds weigh potentiation by 1 - w / w_max and
depression by 1 + w / w_max. A weight that the gradient carried outside the bounds is not pulled back at once: STDP may
move it inwards only. The homeostatic rule adds HOMEOSTATIC_GAIN times synaptic scaling, by each unit's running rate.

m >= 0 is the consolidation of the synapse (meta-plasticity; 0 without it). It grows while both traces are high:

    m <- m + meta_lr c (m_max - m)        c = share of ticks with both rates above twice the target

Sources: rules.py; soft bounds: van Rossum, Bi, Turrigiano, J. Neurosci. 20 (2000); exp(-|m w|) and growth of m where
both traces are high: TACOS (arXiv 2409.00021).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import StepChange, StepView
from mambrane.layers.spiking import Ticks
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import BlockActivity
from mambrane.plasticity import rules
from mambrane.plasticity.config import PlasticityConfig

RUNNING_WINDOWS = 10
"""Windows over which firing rates and BCM thresholds are averaged: faster than weights change, slower than a text."""
HOMEOSTATIC_GAIN = 10.0
"""Scaling of a silent unit's weights per window, over the learning rate."""
HIGH_OVER_TARGET = 2.0
"""Rate above which a trace counts as high, over the target rate."""
MAX_CONSOLIDATION = 10.0
"""Largest m: plasticity of a weight of 0.2 falls to exp(-2)."""


@dataclass(kw_only=True, slots=True)
class Synapses:
    """What plasticity remembers of the plastic synapses, one for each block."""

    rate_NU: Float[Tensor, "N U"]
    """Running firing rate of each postsynaptic unit, in spikes per tick."""
    theta_NU: Float[Tensor, "N U"]
    """BCM threshold E[y^2] / target, in spikes per tick."""
    consolidation_NUS: Float[Tensor, "N U S"]
    """m of each weight."""


@dataclass(kw_only=True, slots=True)
class Observed:
    """Sums over the counted ticks of a window."""

    potentiation_NUS: Tensor | float = 0.0
    depression_NUS: Tensor | float = 0.0
    both_high_NUS: Tensor | float = 0.0
    """Ticks at which both units' rates were high."""
    spikes_NU: Tensor | float = 0.0
    squared_rate_NU: Tensor | float = 0.0


class Stdp:
    """After-step extension: changes every plastic synapse by the spikes of its two populations."""

    name = "stdp"

    def __init__(self, config: PlasticityConfig, model: LanguageModel) -> None:
        """Watch the plastic synapses of a model.

        Raises:
            UserError: the second population of the model does not spike.
        """
        if model.config.liquid_backbone != "lif":
            raise UserError(
                f"STDP with --liquid-backbone {model.config.liquid_backbone}: that population does not spike",
                wanted="two spiking populations",
                way_out="--liquid-backbone lif, or leave --use-stdp out",
            )
        self.config = config
        self.ticks_per_token = model.config.num_spike_steps
        weights = model.plastic_synapses()
        self.names = list(weights)
        self.synapses = self._fresh(torch.stack(list(weights.values())))

    @torch.no_grad()
    def after_step(self, view: StepView) -> StepChange:
        """Return the new weights, how much they changed, how many stand at a bound, and the firing rate."""
        observed = Observed()
        for batch, activity in zip(view.micro_batches, view.activities, strict=True):
            self._observe(observed, batch, activity)
        self._remember(observed, view.num_targets * self.ticks_per_token)
        weights = view.model.plastic_synapses()
        before_NUS = torch.stack(list(weights.values()))
        after_NUS = self._changed(before_NUS, observed, view.num_targets)
        return StepChange(self._numbers(before_NUS, after_NUS), dict(zip(weights, after_NUS.unbind(), strict=True)))

    def _observe(self, observed: Observed, batch: MicroBatch, activity: tuple[BlockActivity, ...]) -> None:
        """Add the spikes of a micro-batch. Padding, which has no target, does not count."""
        trains = self._trains(batch, activity)
        change = self._rule(trains)
        observed.potentiation_NUS += change.potentiation_NUS
        observed.depression_NUS += change.depression_NUS
        observed.spikes_NU += _sum_over_ticks(trains.counted_post)
        if self.config.stdp_type == "bcm":
            squares = [trains.counted(rate_BTU.square()) for rate_BTU in trains.post_rates]
            observed.squared_rate_NU += _sum_over_ticks(squares)
        if self.config.use_meta_plasticity:
            observed.both_high_NUS += trains.pairs.both_high_NUS

    def _trains(self, batch: MicroBatch, activity: tuple[BlockActivity, ...]) -> rules.Trains:
        ticks = Ticks(self.ticks_per_token)
        all_count = batch.num_targets == batch.targets_BT.numel()
        return rules.Trains(
            [block.pre_spikes_BTS.float() for block in activity],
            [block.post_spikes_BTS.float() for block in activity],
            ticks.spread_resets(batch.resets_BT),
            tau_plus_ticks=self.config.stdp_tau_plus * self.ticks_per_token,
            tau_minus_ticks=self.config.stdp_tau_minus * self.ticks_per_token,
            counted_BT=None if all_count else ticks.spread(batch.targets_BT != IGNORED_TARGET),
            high_rate_per_tick=HIGH_OVER_TARGET * self._target_per_tick,
        )

    def _rule(self, trains: rules.Trains) -> rules.Change:
        if self.config.stdp_type == "triplet":
            return rules.triplet(trains, balanced_rate_per_tick=self._target_per_tick)
        if self.config.stdp_type == "bcm":
            return rules.bcm(trains, self.synapses.theta_NU, target_rate_per_tick=self._target_per_tick)
        return rules.pair(trains)

    def _remember(self, observed: Observed, num_ticks: int) -> None:
        """Move the running rates, the thresholds and the consolidation on by one window."""
        synapses = self.synapses
        synapses.rate_NU = self._running(synapses.rate_NU, observed.spikes_NU / num_ticks)
        if self.config.stdp_type == "bcm":
            mean_square_NU = observed.squared_rate_NU / num_ticks
            synapses.theta_NU = self._running(synapses.theta_NU, mean_square_NU / self._target_per_tick)
        if self.config.use_meta_plasticity:
            share_NUS = observed.both_high_NUS / num_ticks
            room_NUS = MAX_CONSOLIDATION - synapses.consolidation_NUS
            synapses.consolidation_NUS = synapses.consolidation_NUS + self.config.meta_lr * share_NUS * room_NUS

    def _changed(self, weight_NUS: Tensor, observed: Observed, num_tokens: int) -> Tensor:
        """Return the new weights."""
        potentiation_NUS = observed.potentiation_NUS / num_tokens
        depression_NUS = observed.depression_NUS / num_tokens
        if self.config.stdp_type == "homeostatic":
            scaling_NUS = rules.synaptic_scaling(weight_NUS, self.synapses.rate_NU, self._target_per_tick)
            scaling_NUS = HOMEOSTATIC_GAIN * scaling_NUS
            potentiation_NUS = potentiation_NUS + scaling_NUS.clamp(min=0.0)
            depression_NUS = depression_NUS + (-scaling_NUS).clamp(min=0.0)
        limit = self.config.stdp_max_weight
        if self.config.stdp_bounds == "soft":
            potentiation_NUS = potentiation_NUS * (1.0 - weight_NUS / limit).clamp(min=0.0)
            depression_NUS = depression_NUS * (1.0 + weight_NUS / limit).clamp(min=0.0)
        plasticity_NUS = torch.exp(-(self.synapses.consolidation_NUS * weight_NUS).abs())
        change_NUS = self.config.stdp_learning_rate * plasticity_NUS * (potentiation_NUS - depression_NUS)
        return (weight_NUS + change_NUS).clamp(min=weight_NUS.clamp(max=-limit), max=weight_NUS.clamp(min=limit))

    def _numbers(self, before_NUS: Tensor, after_NUS: Tensor) -> dict[str, float]:
        """Return what is shown of a window, each number a mean over all synapses."""
        numbers = {
            "mean_change": (after_NUS - before_NUS).abs().mean(),
            "at_bounds": (after_NUS.abs() >= self.config.stdp_max_weight).float().mean(),
            "rate_per_token": self.synapses.rate_NU.mean() * self.ticks_per_token,
        }
        if self.config.use_meta_plasticity:
            numbers["consolidation"] = self.synapses.consolidation_NUS.mean()
        # One transfer from the device for all numbers.
        return dict(zip(numbers, torch.stack(list(numbers.values())).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return rates, thresholds and consolidation of every synapse by name."""
        memories = (self.synapses.rate_NU, self.synapses.theta_NU, self.synapses.consolidation_NUS)
        return {
            name: {"rate_U": rate_U, "theta_U": theta_U, "consolidation_US": consolidation_US}
            for name, rate_U, theta_U, consolidation_US in zip(self.names, *memories, strict=True)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        if state.keys() != set(self.names):
            raise ValueError(f"saved for the synapses {sorted(state)}, the model has {sorted(self.names)}")
        device = self.synapses.rate_NU.device
        rate_NU, theta_NU, consolidation_NUS = (
            torch.stack([state[name][memory] for name in self.names]).to(device)
            for memory in ("rate_U", "theta_U", "consolidation_US")
        )
        self.synapses = Synapses(rate_NU=rate_NU, theta_NU=theta_NU, consolidation_NUS=consolidation_NUS)

    def _fresh(self, weight_NUS: Tensor) -> Synapses:
        """Return the memory of untouched synapses: every unit is taken to be on target."""
        on_target_NU = torch.full_like(weight_NUS[:, :, 0], self._target_per_tick, requires_grad=False)
        return Synapses(
            rate_NU=on_target_NU,
            theta_NU=on_target_NU.clone(),
            consolidation_NUS=torch.zeros_like(weight_NUS, requires_grad=False),
        )

    def _running(self, mean_NU: Tensor, new_NU: Tensor) -> Tensor:
        return mean_NU + (new_NU - mean_NU) / RUNNING_WINDOWS

    @property
    def _target_per_tick(self) -> float:
        return self.config.stdp_target_rate / self.ticks_per_token


def _sum_over_ticks(units: list[Tensor]) -> Float[Tensor, "N U"]:
    """Return the sums over batch and ticks of each synapse's [B, T, U]."""
    return torch.stack([each_BTU.sum(dim=(0, 1)) for each_BTU in units])
