"""Spike-timing-dependent plasticity of the plastic synapses, once after each applied step.

    w <- w + eta exp(-|m w|) (potentiation - depression)            kept inside [-w_max, w_max]

potentiation and depression are those of a rule (`rules.py`), summed over the spikes the two populations emitted in the
step and divided by its tokens; eta is the learning rate. Soft bounds weigh potentiation by 1 - w / w_max and
depression by 1 + w / w_max. A weight that the gradient carried outside the bounds is not pulled back at once: STDP may
move it inwards only. The homeostatic rule adds HOMEOSTATIC_GAIN times synaptic scaling, by each unit's running rate.

m >= 0 is the consolidation of the synapse (meta-plasticity; 0 without it). It grows while both traces are high:

    m <- m + meta_lr c (m_max - m)        c = share of ticks with both rates above twice the target

Sources: rules.py; soft bounds: van Rossum, Bi, Turrigiano, J. Neurosci. 20 (2000); exp(-|m w|) and growth of m where
both traces are high: TACOS (arXiv 2409.00021).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.core.shapes import Spikes
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import StepChange, StepView
from mambrane.engine.method import Method, Number
from mambrane.engine.ranks import Ranks
from mambrane.engine.shards import whole
from mambrane.layers.spiking import Ticks
from mambrane.models.language_model import LanguageModel
from mambrane.plasticity import rules
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.controls import random_of_same_size, shuffled_in_time

RUNNING_STEPS = 10
"""Steps over which firing rates and BCM thresholds are averaged: faster than weights change, slower than a text."""
HOMEOSTATIC_GAIN = 10.0
"""Scaling of a silent unit's weights per step, over the learning rate."""
HIGH_OVER_TARGET = 2.0
"""Rate above which a trace counts as high, over the target rate; never the rate of a spike at each tick."""
MAX_CONSOLIDATION = 10.0
"""Largest m: plasticity of a weight of 0.2 falls to exp(-2)."""


@dataclass(kw_only=True, slots=True)
class Synapses:
    """What plasticity remembers of plastic synapses of equal shape; their rules run as one."""

    names: tuple[str, ...]
    """Full parameter name of each."""
    rate_NU: Float[Tensor, "N U"]
    """Running firing rate of each postsynaptic unit, in spikes per tick."""
    theta_NU: Float[Tensor, "N U"]
    """BCM threshold E[y^2] / target, in spikes per tick."""
    consolidation_NUS: Float[Tensor, "N U S"]
    """m of each weight."""


@dataclass(kw_only=True, slots=True)
class Observed:
    """Sums over the counted ticks of a step, of synapses of equal shape."""

    potentiation_NUS: Tensor | float = 0.0
    depression_NUS: Tensor | float = 0.0
    both_high_NUS: Tensor | float = 0.0
    """Ticks at which both units' rates were high."""
    spikes_NU: Tensor | float = 0.0
    squared_rate_NU: Tensor | float = 0.0

    def sum_over_ranks_(self, ranks: Ranks, synapses: Synapses, num_tokens: int) -> int:
        """Replace every sum by that over all ranks; one that saw no micro-batch adds zeros. Returns all tokens."""
        if ranks.size == 1:
            return num_tokens
        for field in fields(self):
            like = synapses.consolidation_NUS if field.name.endswith("NUS") else synapses.rate_NU
            setattr(self, field.name, torch.zeros_like(like) + getattr(self, field.name))
        ranks.sum_(tokens := torch.tensor(num_tokens), *(getattr(self, field.name) for field in fields(self)))
        return int(tokens)


class Stdp(Method):
    """After-step extension: changes every plastic synapse by the spikes of its two populations."""

    name = "stdp"
    label = "STDP"
    across_ranks = True
    across_shards = True
    operations = ("spike_pairs", "causal_trace")
    numbers = (
        Number("mean_change", "STDP: mean absolute change of a synapse"),
        Number("at_bounds", "STDP: part of the synapses at a bound"),
        Number("rate_per_token", "STDP: spikes per token, slow mean"),
        Number("consolidation", "STDP: mean consolidation of a synapse"),
    )

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.plasticity.use_stdp

    @classmethod
    def build(cls, config: Any, model: LanguageModel) -> "Stdp":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.plasticity, model, seed=config.run.seed)

    def __init__(self, config: PlasticityConfig, model: LanguageModel, *, seed: int = 0) -> None:
        """Watch the plastic synapses of a model.

        Raises:
            UserError: the model has no plastic synapse, or its second population does not spike.
        """
        weights = _whole_synapses(model)
        if not weights:
            raise UserError(
                f"STDP with --block-pattern {model.config.block_pattern}: no block has a plastic synapse",
                wanted="at least one hybrid block",
                way_out="--block-pattern hybrid, or leave --use-stdp out",
            )
        if model.config.liquid_backbone != "lif":
            raise UserError(
                f"STDP with --liquid-backbone {model.config.liquid_backbone}: that population does not spike",
                wanted="two spiking populations",
                way_out="--liquid-backbone lif, or leave --use-stdp out",
            )
        self.config = config
        self._seed = seed
        self.ticks_per_token = model.config.num_spike_steps
        by_shape: dict[torch.Size, list[str]] = {}
        for name, weight_US in weights.items():
            by_shape.setdefault(weight_US.shape, []).append(name)
        self.synapses = [self._fresh(names, weights) for names in by_shape.values()]

    @torch.no_grad()
    def after_step(self, view: StepView) -> StepChange:
        """Return the new weights, how much they changed, how many stand at a bound, and the firing rate."""
        weights, before, after, changed = _whole_synapses(view.model), [], [], dict[str, Tensor]()
        spikes = [view.model.synapse_spikes(activity) for activity in view.activities]
        # What a control draws follows from the step, so that a resumed run draws the same.
        is_drawn = self.config.stdp_control in ("shuffled", "random")
        drawn = make_generator(self._seed, "stdp control", view.applied_step) if is_drawn else torch.default_generator
        for synapses in self.synapses:
            observed = Observed()
            for batch, num_read, batch_spikes in zip(view.micro_batches, view.read_by_batch, spikes, strict=True):
                trains = self._trains(batch, num_read, [batch_spikes[name] for name in synapses.names])
                if self.config.stdp_control == "shuffled":
                    post = [shuffled_in_time(each_BTU, trains.counted_BT, drawn) for each_BTU in trains.post]
                    trains = replace(trains, post=post)
                self._observe(synapses, observed, trains)
            num_tokens = observed.sum_over_ranks_(view.ranks, synapses, sum(view.read_by_batch))
            self._remember(synapses, observed, num_tokens * self.ticks_per_token)
            before.append(torch.stack([weights[name] for name in synapses.names]))
            after.append(self._changed(synapses, before[-1], observed, num_tokens, drawn))
            changed |= zip(synapses.names, after[-1].unbind(), strict=True)
        return StepChange(self._numbers(before, after), changed)

    def revocation_point(self) -> Callable[[], None]:
        """Return what brings rates, thresholds and consolidation back; a step makes new ones and changes none."""
        return partial(setattr, self, "synapses", [replace(synapses) for synapses in self.synapses])

    def _observe(self, synapses: Synapses, observed: Observed, trains: rules.SpikeTrains) -> None:
        """Add the spikes of a micro-batch."""
        change = self._rule(synapses, trains)
        observed.potentiation_NUS += change.potentiation_NUS
        observed.depression_NUS += change.depression_NUS
        observed.spikes_NU += _sum_over_ticks(trains.counted_post)
        if self.config.stdp_type == "bcm":
            squares = [trains.counted(rate_BTU.square()) for rate_BTU in trains.post_rates]
            observed.squared_rate_NU += _sum_over_ticks(squares)
        if self.config.use_meta_plasticity:
            observed.both_high_NUS += trains.pairs.both_high_NUS

    def _trains(self, batch: MicroBatch, num_read: int, spikes: list[tuple[Spikes, Spikes]]) -> rules.SpikeTrains:
        """Return the spikes of a micro-batch. Padding, which no target follows, does not count."""
        ticks = Ticks(self.ticks_per_token)
        all_count = num_read == batch.targets_BT.numel()
        return rules.SpikeTrains(
            [pre_BTS.float() for pre_BTS, _ in spikes],
            [post_BTU.float() for _, post_BTU in spikes],
            ticks.spread_resets(batch.resets_BT),
            tau_plus_ticks=self.config.stdp_tau_plus * self.ticks_per_token,
            tau_minus_ticks=self.config.stdp_tau_minus * self.ticks_per_token,
            counted_BT=None if all_count else ticks.spread(batch.is_read_BT),
            high_rate_per_tick=min(HIGH_OVER_TARGET * self._target_per_tick, (1 + self._target_per_tick) / 2),
        )

    def _rule(self, synapses: Synapses, trains: rules.SpikeTrains) -> rules.Change:
        if self.config.stdp_type == "triplet":
            return rules.triplet(trains, balanced_rate_per_tick=self._target_per_tick)
        if self.config.stdp_type == "bcm":
            return rules.bcm(trains, synapses.theta_NU, target_rate_per_tick=self._target_per_tick)
        return rules.pair(trains)

    def _remember(self, synapses: Synapses, observed: Observed, num_ticks: int) -> None:
        """Move the running rates, the thresholds and the consolidation on by one step."""
        synapses.rate_NU = self._running(synapses.rate_NU, observed.spikes_NU / num_ticks)
        if self.config.stdp_type == "bcm":
            mean_square_NU = observed.squared_rate_NU / num_ticks
            synapses.theta_NU = self._running(synapses.theta_NU, mean_square_NU / self._target_per_tick)
        if self.config.use_meta_plasticity:
            share_NUS = observed.both_high_NUS / num_ticks
            room_NUS = MAX_CONSOLIDATION - synapses.consolidation_NUS
            synapses.consolidation_NUS = synapses.consolidation_NUS + self.config.meta_lr * share_NUS * room_NUS

    def _changed(
        self, synapses: Synapses, weight_NUS: Tensor, observed: Observed, num_tokens: int, drawn: torch.Generator
    ) -> Tensor:
        """Return the new weights."""
        potentiation_NUS = observed.potentiation_NUS / num_tokens
        depression_NUS = observed.depression_NUS / num_tokens
        if self.config.stdp_type == "homeostatic":
            scaling_NUS = rules.synaptic_scaling(weight_NUS, synapses.rate_NU, self._target_per_tick)
            scaling_NUS = HOMEOSTATIC_GAIN * scaling_NUS
            potentiation_NUS = potentiation_NUS + scaling_NUS.clamp(min=0.0)
            depression_NUS = depression_NUS + (-scaling_NUS).clamp(min=0.0)
        if self.config.stdp_control == "flipped":
            potentiation_NUS, depression_NUS = depression_NUS, potentiation_NUS
        limit = self.config.stdp_max_weight
        if self.config.stdp_bounds == "soft":
            potentiation_NUS = potentiation_NUS * (1.0 - weight_NUS / limit).clamp(min=0.0)
            depression_NUS = depression_NUS * (1.0 + weight_NUS / limit).clamp(min=0.0)
        plasticity_NUS = torch.exp(-(synapses.consolidation_NUS * weight_NUS).abs())
        change_NUS = self.config.stdp_learning_rate * plasticity_NUS * (potentiation_NUS - depression_NUS)
        if self.config.stdp_control == "random":
            change_NUS = random_of_same_size(change_NUS, drawn)
        return (weight_NUS + change_NUS).clamp(min=weight_NUS.clamp(max=-limit), max=weight_NUS.clamp(min=limit))

    def _numbers(self, before: list[Tensor], after: list[Tensor]) -> dict[str, Tensor]:
        """Return what is shown of a step, each number a mean over all synapses."""
        before_W, after_W = _flat(before), _flat(after)
        numbers = {
            "mean_change": (after_W - before_W).abs().mean(),
            "at_bounds": (after_W.abs() >= self.config.stdp_max_weight).float().mean(),
            "rate_per_token": _flat([synapses.rate_NU for synapses in self.synapses]).mean() * self.ticks_per_token,
        }
        if self.config.use_meta_plasticity:
            numbers["consolidation"] = _flat([synapses.consolidation_NUS for synapses in self.synapses]).mean()
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """Return rates, thresholds and consolidation of every synapse by name."""
        return {
            name: {
                "rate_U": synapses.rate_NU[n],
                "theta_U": synapses.theta_NU[n],
                "consolidation_US": synapses.consolidation_NUS[n],
            }
            for synapses in self.synapses
            for n, name in enumerate(synapses.names)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        names = [name for synapses in self.synapses for name in synapses.names]
        if state.keys() != set(names):
            raise ValueError(f"saved for the synapses {sorted(state)}, the model has {sorted(names)}")
        for synapses in self.synapses:
            device = synapses.rate_NU.device
            synapses.rate_NU, synapses.theta_NU, synapses.consolidation_NUS = (
                torch.stack([state[name][memory] for name in synapses.names]).to(device)
                for memory in ("rate_U", "theta_U", "consolidation_US")
            )

    def _fresh(self, names: list[str], weights: Mapping[str, Tensor]) -> Synapses:
        """Return the memory of untouched synapses of equal shape: every unit is taken to be on target."""
        weight_NUS = torch.stack([weights[name] for name in names])
        on_target_NU = torch.full_like(weight_NUS[:, :, 0], self._target_per_tick, requires_grad=False)
        return Synapses(
            names=tuple(names),
            rate_NU=on_target_NU,
            theta_NU=on_target_NU.clone(),
            consolidation_NUS=torch.zeros_like(weight_NUS, requires_grad=False),
        )

    def _running(self, mean_NU: Tensor, new_NU: Tensor | float) -> Tensor:
        return mean_NU + (new_NU - mean_NU) / RUNNING_STEPS

    @property
    def _target_per_tick(self) -> float:
        return self.config.stdp_target_rate / self.ticks_per_token


def _whole_synapses(model: LanguageModel) -> dict[str, Tensor]:
    """Return the plastic synapses, whole also where the model's weights lie in pieces."""
    return {name: whole(weight) for name, weight in model.plastic_synapses().items()}


def _sum_over_ticks(units: list[Tensor]) -> Float[Tensor, "N U"]:
    """Return the sums over batch and ticks of each synapse's [B, T, U]."""
    return torch.stack([each_BTU.sum(dim=(0, 1)) for each_BTU in units])


def _flat(tensors: list[Tensor]) -> Float[Tensor, " W"]:
    """Return all numbers of tensors, one after the other."""
    return torch.cat([tensor.flatten() for tensor in tensors])
