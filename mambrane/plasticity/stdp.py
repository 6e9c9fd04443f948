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
from mambrane.engine.extensions import StepView
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
class Synapse:
    """What plasticity remembers of one plastic synapse."""

    rate_U: Float[Tensor, " U"]
    """Running firing rate of each postsynaptic unit, in spikes per tick."""
    theta_U: Float[Tensor, " U"]
    """BCM threshold E[y^2] / target, in spikes per tick."""
    consolidation_US: Float[Tensor, "U S"]
    """m of each weight."""


@dataclass(kw_only=True, slots=True)
class Observed:
    """Sums over the counted ticks of a window."""

    potentiation_US: Tensor | float = 0.0
    depression_US: Tensor | float = 0.0
    both_high_US: Tensor | float = 0.0
    """Ticks at which both units' rates were high."""
    spikes_U: Tensor | float = 0.0
    squared_rate_U: Tensor | float = 0.0
    num_tokens: int = 0
    num_ticks: int = 0


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
        self.synapses = {name: self._fresh(weight) for name, weight in model.plastic_synapses().items()}

    @torch.no_grad()
    def after_step(self, view: StepView) -> dict[str, float]:
        """Change the weights in place; returns how much, how many stand at a bound, and the firing rate."""
        numbers = []
        for index, (name, weight_US) in enumerate(view.model.plastic_synapses().items()):
            synapse, observed = self.synapses[name], Observed()
            for batch, activity in zip(view.micro_batches, view.outputs, strict=True):
                self._observe(observed, synapse, batch, activity[index])
            self._remember(synapse, observed)
            before_US = weight_US.clone()
            weight_US.copy_(self._changed(weight_US, synapse, observed))
            numbers.append(self._numbers(before_US, weight_US, synapse))
        return {key: sum(block[key] for block in numbers) / len(numbers) for key in numbers[0]}

    def _observe(self, observed: Observed, synapse: Synapse, batch: MicroBatch, activity: BlockActivity) -> None:
        """Add the spikes of a micro-batch. Padding, which has no target, does not count."""
        counted_BT = (batch.targets_BT != IGNORED_TARGET).repeat_interleave(self.ticks_per_token, dim=1)
        resets_BT = torch.zeros_like(counted_BT)
        resets_BT[:, :: self.ticks_per_token] = batch.resets_BT
        trains = rules.Trains(
            activity.pre_spikes_BTS.float(),
            activity.post_spikes_BTS.float(),
            resets_BT,
            tau_plus_ticks=self.config.stdp_tau_plus * self.ticks_per_token,
            tau_minus_ticks=self.config.stdp_tau_minus * self.ticks_per_token,
            counted_BT=None if counted_BT.all() else counted_BT,
            high_rate_per_tick=HIGH_OVER_TARGET * self._target_per_tick,
        )
        change = self._rule(trains, synapse)
        observed.potentiation_US += change.potentiation_US
        observed.depression_US += change.depression_US
        observed.spikes_U += trains.counted_post_BTU.sum(dim=(0, 1))
        observed.num_ticks += int(counted_BT.sum())
        observed.num_tokens += batch.num_targets
        if self.config.stdp_type == "bcm":
            squared_rate_BTU = trains.post_rate_BTU.square() * counted_BT.unsqueeze(-1)
            observed.squared_rate_U += squared_rate_BTU.sum(dim=(0, 1))
        if self.config.use_meta_plasticity:
            observed.both_high_US += trains.pairs.both_high_US

    def _rule(self, trains: rules.Trains, synapse: Synapse) -> rules.Change:
        if self.config.stdp_type == "triplet":
            return rules.triplet(trains, balanced_rate_per_tick=self._target_per_tick)
        if self.config.stdp_type == "bcm":
            return rules.bcm(trains, synapse.theta_U, target_rate_per_tick=self._target_per_tick)
        return rules.pair(trains)

    def _remember(self, synapse: Synapse, observed: Observed) -> None:
        """Move the running rate, the threshold and the consolidation on by one window."""
        synapse.rate_U = self._running(synapse.rate_U, observed.spikes_U / observed.num_ticks)
        if self.config.stdp_type == "bcm":
            mean_square_U = observed.squared_rate_U / observed.num_ticks
            synapse.theta_U = self._running(synapse.theta_U, mean_square_U / self._target_per_tick)
        if self.config.use_meta_plasticity:
            share_US = observed.both_high_US / observed.num_ticks
            room_US = MAX_CONSOLIDATION - synapse.consolidation_US
            synapse.consolidation_US = synapse.consolidation_US + self.config.meta_lr * share_US * room_US

    def _changed(self, weight_US: Tensor, synapse: Synapse, observed: Observed) -> Tensor:
        """Return the new weights."""
        potentiation_US = observed.potentiation_US / observed.num_tokens
        depression_US = observed.depression_US / observed.num_tokens
        if self.config.stdp_type == "homeostatic":
            scaling_US = HOMEOSTATIC_GAIN * rules.synaptic_scaling(weight_US, synapse.rate_U, self._target_per_tick)
            potentiation_US = potentiation_US + scaling_US.clamp(min=0.0)
            depression_US = depression_US + (-scaling_US).clamp(min=0.0)
        limit = self.config.stdp_max_weight
        if self.config.stdp_bounds == "soft":
            potentiation_US = potentiation_US * (1.0 - weight_US / limit).clamp(min=0.0)
            depression_US = depression_US * (1.0 + weight_US / limit).clamp(min=0.0)
        plasticity_US = torch.exp(-(synapse.consolidation_US * weight_US).abs())
        change_US = self.config.stdp_learning_rate * plasticity_US * (potentiation_US - depression_US)
        return (weight_US + change_US).clamp(min=weight_US.clamp(max=-limit), max=weight_US.clamp(min=limit))

    def _numbers(self, before_US: Tensor, after_US: Tensor, synapse: Synapse) -> dict[str, float]:
        limit = self.config.stdp_max_weight
        numbers = {
            "mean_change": float((after_US - before_US).abs().mean()),
            "at_bounds": float((after_US.abs() >= limit).float().mean()),
            "rate_per_token": float(synapse.rate_U.mean()) * self.ticks_per_token,
        }
        if self.config.use_meta_plasticity:
            numbers["consolidation"] = float(synapse.consolidation_US.mean())
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """Return rates, thresholds and consolidation of every synapse by name."""
        return {
            name: {
                "rate_U": synapse.rate_U,
                "theta_U": synapse.theta_U,
                "consolidation_US": synapse.consolidation_US,
            }
            for name, synapse in self.synapses.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        if state.keys() != self.synapses.keys():
            raise ValueError(f"saved for the synapses {sorted(state)}, the model has {sorted(self.synapses)}")
        for name, saved in state.items():
            device = self.synapses[name].rate_U.device
            self.synapses[name] = Synapse(**{key: tensor.to(device) for key, tensor in saved.items()})

    def _fresh(self, weight_US: Tensor) -> Synapse:
        """Return the memory of an untouched synapse: every unit is taken to be on target."""
        on_target_U = torch.full_like(weight_US[:, 0], self._target_per_tick, requires_grad=False)
        return Synapse(
            rate_U=on_target_U,
            theta_U=on_target_U.clone(),
            consolidation_US=torch.zeros_like(weight_US, requires_grad=False),
        )

    def _running(self, mean_U: Tensor, new_U: Tensor) -> Tensor:
        return mean_U + (new_U - mean_U) / RUNNING_WINDOWS

    @property
    def _target_per_tick(self) -> float:
        return self.config.stdp_target_rate / self.ticks_per_token
