"""How synapses change beside the gradient. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mambrane.core.bounds import Bounds, Positive, Rate, Ratio, Strength, check_settings
from mambrane.core.needs import Needs

_STDP = Needs("--use-stdp", lambda run: run.plasticity.use_stdp)
_TARGET = Needs(
    "--stdp-type homeostatic, triplet or bcm, or --use-meta-plasticity",
    lambda run: run.plasticity.stdp_type != "classical" or run.plasticity.use_meta_plasticity,
)
_META = Needs("--use-meta-plasticity", lambda run: run.plasticity.use_meta_plasticity)
_REPLAY = Needs("--use-replay", lambda run: run.continual.use_replay)
_EARLIER_TASKS = Needs("--continual-learning with --num-tasks 2 or more", lambda run: run.has_earlier_tasks)
_GATE_OR_CONSOLIDATION = Needs(
    "--continual-learning with --num-tasks 2 or more (to gate) or --use-stdp (to consolidate)",
    lambda run: run.has_earlier_tasks or run.plasticity.use_stdp,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlasticityConfig:
    """Plasticity: STDP on the plastic synapse, and meta-plasticity of every weight."""

    use_stdp: bool = False
    """Change the plastic synapse by the timing of the spikes of the two populations."""
    stdp_type: Annotated[Literal["homeostatic", "classical", "triplet", "bcm"], _STDP] = "homeostatic"
    """Rule: pair STDP with rate homeostasis, plain pair STDP, triplet STDP, or BCM."""
    stdp_learning_rate: Annotated[Rate, _STDP] = 1e-3
    """Weight change per coincidence, averaged over the step's sequences and tokens."""
    stdp_tau_plus: Annotated[Positive, _STDP] = 20.0
    """Time constant of potentiation (trace of the first population), in tokens."""
    stdp_tau_minus: Annotated[Positive, _STDP] = 20.0
    """Time constant of depression (trace of the second population), in tokens."""
    stdp_target_rate: Annotated[float, Bounds(0, 1, "both"), _STDP, _TARGET] = 0.1
    """Firing rate, in spikes per token, that homeostasis and BCM aim at and at which the triplet rule is in balance."""
    stdp_bounds: Annotated[Literal["hard", "soft"], _STDP] = "hard"
    """How STDP keeps weights inside the bounds: cut off, or change less the nearer the bound is."""
    stdp_max_weight: Annotated[Positive, _STDP] = 1.0
    """Bound of a plastic weight's size; with 1.0 one spike can bring a neuron to the default threshold."""
    stdp_control: Annotated[Literal["none", "shuffled", "flipped", "random"], _STDP] = "none"
    """In place of the rule, what it must beat: spikes at shuffled times, the sign flipped, a random change as large."""
    use_meta_plasticity: Annotated[bool, _GATE_OR_CONSOLIDATION] = False
    """Let synapses that mattered for earlier tasks change less: f = 1 / (1 + kappa h)."""
    meta_lr: Annotated[Ratio, _META] = 0.01
    """Rate at which a weight's importance and a synapse's consolidation are learned."""
    meta_kappa: Annotated[Strength, _META, _EARLIER_TASKS] = 3.0
    """Strength of the gate on the optimizer's update; 0 equals off."""
    meta_row_rate: Annotated[Strength, _META, _REPLAY] = 0.0
    """Rate at which a row's plasticity follows the agreement of new and replayed gradients; 0 is off."""
    meta_control: Annotated[Literal["none", "uniform", "permuted", "decay"], _META, _EARLIER_TASKS] = "none"
    """In place of the importance, what it must beat: all weights alike, importance at other weights, decay by task."""

    def __post_init__(self) -> None:
        check_settings(self)
