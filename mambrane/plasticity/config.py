"""How synapses change beside the gradient. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass
from typing import Literal

from mambrane.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class PlasticityConfig:
    """Plasticity: STDP on the plastic synapse, and meta-plasticity of every weight."""

    use_stdp: bool = False
    """Change the plastic synapse by the timing of the spikes of the two populations."""
    stdp_type: Literal["homeostatic", "classical", "triplet", "bcm"] = "homeostatic"
    """Rule: pair STDP with rate homeostasis, plain pair STDP, triplet STDP, or BCM."""
    stdp_learning_rate: float = 1e-3
    """Weight change per coincidence, averaged over the window's sequences and tokens."""
    stdp_tau_plus: float = 20.0
    """Time constant of potentiation (trace of the first population), in tokens."""
    stdp_tau_minus: float = 20.0
    """Time constant of depression (trace of the second population), in tokens."""
    stdp_target_rate: float = 0.1
    """Firing rate, in spikes per token, that homeostasis and BCM aim at and at which the triplet rule is in balance."""
    stdp_bounds: Literal["hard", "soft"] = "hard"
    """How STDP keeps weights inside the bounds: cut off, or change less the nearer the bound is."""
    stdp_max_weight: float = 1.0
    """Bound of a plastic weight's size; with 1.0 one spike can bring a neuron to the default threshold."""
    use_meta_plasticity: bool = False
    """Let synapses that mattered for earlier tasks change less: f = 1 / (1 + kappa h)."""
    meta_lr: float = 0.01
    """Rate at which a weight's importance and a synapse's consolidation are learned."""
    meta_kappa: float = 3.0
    """Strength of the gate on the optimizer's update; 0 equals off."""

    def __post_init__(self) -> None:
        for name in ("stdp_tau_plus", "stdp_tau_minus", "stdp_max_weight"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}",
                    wanted="a positive number",
                    way_out="leave the flag out",
                )
        for name in ("stdp_learning_rate", "meta_lr", "meta_kappa"):
            if not getattr(self, name) >= 0:
                raise UserError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}",
                    wanted="0 or more",
                    way_out="leave the flag out",
                )
        if not 0 < self.stdp_target_rate < 1:
            raise UserError(
                f"--stdp-target-rate {self.stdp_target_rate}",
                wanted="spikes per token, between 0 and 1",
                way_out="--stdp-target-rate 0.1",
            )
