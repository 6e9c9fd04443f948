"""Settings that were given but change nothing: each is answered with a warning, never passed over in silence."""

from collections.abc import Callable, Collection

from mambrane.run.config import RunConfig

Needs = tuple[str, Callable[[RunConfig], bool]]


_STDP: Needs = ("--use-stdp", lambda c: c.plasticity.use_stdp)
_META: Needs = ("--use-meta-plasticity", lambda c: c.plasticity.use_meta_plasticity)
_REPLAY: Needs = ("--use-replay", lambda c: c.continual.use_replay)
_CONSOLIDATION: Needs = ("--consolidation-strength above 0", lambda c: c.continual.consolidation_strength > 0)
_DISTILLATION: Needs = ("--distillation-strength above 0", lambda c: c.continual.distillation_strength > 0)
_ESTIMATE: Needs = ("--consolidation-method ewc or mas", lambda c: c.continual.consolidation_method != "si")
_CONTINUAL: Needs = ("--continual-learning", lambda c: c.continual.continual_learning)
_EARLIER_TASKS: Needs = ("--continual-learning with --num-tasks 2 or more", lambda c: c.has_earlier_tasks)
_GATE_OR_CONSOLIDATION: Needs = (
    "--continual-learning with --num-tasks 2 or more (to gate) or --use-stdp (to consolidate)",
    lambda c: c.has_earlier_tasks or c.plasticity.use_stdp,
)
_TARGET: Needs = (
    "--stdp-type homeostatic, triplet or bcm, or --use-meta-plasticity",
    lambda c: c.plasticity.stdp_type != "classical" or c.plasticity.use_meta_plasticity,
)

NEEDS: dict[tuple[str, str], tuple[Needs, ...]] = {
    ("plasticity", "stdp_type"): (_STDP,),
    ("plasticity", "stdp_learning_rate"): (_STDP,),
    ("plasticity", "stdp_tau_plus"): (_STDP,),
    ("plasticity", "stdp_tau_minus"): (_STDP,),
    ("plasticity", "stdp_target_rate"): (_STDP, _TARGET),
    ("plasticity", "stdp_bounds"): (_STDP,),
    ("plasticity", "stdp_max_weight"): (_STDP,),
    ("plasticity", "use_meta_plasticity"): (_GATE_OR_CONSOLIDATION,),
    ("plasticity", "meta_lr"): (_META,),
    ("plasticity", "meta_kappa"): (_META, _EARLIER_TASKS),
    ("continual", "num_tasks"): (_CONTINUAL,),
    ("continual", "use_replay"): (_EARLIER_TASKS,),
    ("continual", "replay_buffer_size"): (_REPLAY,),
    ("continual", "replay_strategy"): (_REPLAY,),
    ("continual", "replay_fraction"): (_REPLAY,),
    ("continual", "consolidation_strength"): (_EARLIER_TASKS,),
    ("continual", "consolidation_method"): (_CONSOLIDATION,),
    ("continual", "consolidation_decay"): (_CONSOLIDATION,),
    ("continual", "fisher_sequences"): (_CONSOLIDATION, _ESTIMATE),
    ("continual", "distillation_strength"): (_EARLIER_TASKS,),
    ("continual", "distillation_temperature"): (_DISTILLATION,),
}
"""What each dependent setting needs in order to do anything; those of the model stand beside its kinds of block."""


SWITCHES = frozenset({"use_meta_plasticity", "use_replay", "consolidation_strength", "distillation_strength"})
"""Those of them that are off at False or 0, where nobody expects an effect."""


def settings_without_effect(config: RunConfig, preset: RunConfig, given: Collection[str] = ()) -> list[str]:
    """Return a sentence for each setting that was asked for and changes nothing in this run.

    Args:
        config: the run.
        preset: what it was made from; a setting that differs from it was asked for.
        given: names of settings on the command line, which were asked for at whatever value.
    """
    # Kinds of block import torch, which reading the command line does not wait for.
    from mambrane.models.block import missing_of_model

    missing_by_setting = {
        setting: " and ".join(what for what, is_there in needs if not is_there(config))
        for setting, needs in NEEDS.items()
    } | {("model", name): missing for name, missing in missing_of_model(config.model).items()}
    sentences = []
    for (section, name), missing in missing_by_setting.items():
        value = getattr(getattr(config, section), name)
        if name not in given and value == getattr(getattr(preset, section), name):
            continue
        if missing and value is not False and not (name in SWITCHES and not value):
            words = f"--{name.replace('_', '-')}" + f" {value}" * (value is not True)
            sentences.append(f"{words} has no effect without {missing}")
    if config.plasticity.use_meta_plasticity and config.plasticity.use_stdp and not config.has_earlier_tasks:
        sentences.append(f"--use-meta-plasticity gates no update without {_EARLIER_TASKS[0]}; it consolidates synapses")
    return sentences
