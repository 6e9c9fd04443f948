"""How synapses change beside the gradient. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mambrane.core.bounds import Bounds, Positive, Rate, Strength, check_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class PlasticityConfig:
    """Plasticity: STDP on the plastic synapse, and meta-plasticity of every weight."""

    use_stdp: bool = False
    """Change the plastic synapse by the timing of the spikes of the two populations."""
    stdp_type: Literal["homeostatic", "classical", "triplet", "bcm"] = "homeostatic"
    """Rule: pair STDP with rate homeostasis, plain pair STDP, triplet STDP, or BCM."""
    stdp_learning_rate: Rate = 1e-3
    """Weight change per coincidence, averaged over the window's sequences and tokens."""
    stdp_tau_plus: Positive = 20.0
    """Time constant of potentiation (trace of the first population), in tokens."""
    stdp_tau_minus: Positive = 20.0
    """Time constant of depression (trace of the second population), in tokens."""
    stdp_target_rate: Annotated[float, Bounds(0, 1, "both")] = 0.1
    """Firing rate, in spikes per token, that homeostasis and BCM aim at and at which the triplet rule is in balance."""
    stdp_bounds: Literal["hard", "soft"] = "hard"
    """How STDP keeps weights inside the bounds: cut off, or change less the nearer the bound is."""
    stdp_max_weight: Positive = 1.0
    """Bound of a plastic weight's size; with 1.0 one spike can bring a neuron to the default threshold."""
    use_meta_plasticity: bool = False
    """Let synapses that mattered for earlier tasks change less: f = 1 / (1 + kappa h)."""
    meta_lr: Rate = 0.01
    """Rate at which a weight's importance and a synapse's consolidation are learned."""
    meta_kappa: Strength = 3.0
    """Strength of the gate on the optimizer's update; 0 equals off."""

    def __post_init__(self) -> None:
        check_settings(self)
