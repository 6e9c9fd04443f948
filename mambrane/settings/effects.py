"""Settings that were given but change nothing: each is answered with a warning, never passed over in silence."""

from collections.abc import Collection

from mambrane.core.launch import num_processes
from mambrane.core.needs import unmet_needs
from mambrane.settings.config import RunConfig

_DEFAULTS = RunConfig()


def settings_without_effect(config: RunConfig, preset: RunConfig, given: Collection[str] = ()) -> list[str]:
    """Return a sentence for each setting that was asked for and changes nothing in this run.

    Args:
        config: the run.
        preset: what it was made from; a setting that differs from it was asked for.
        given: names of settings on the command line, which were asked for at whatever value.
    """
    # Kinds of block import torch, which reading the command line does not wait for.
    from mambrane.models.block import missing_of_model

    missing_by_setting = {(section, name): missing for section, name, missing in unmet_needs(config)}
    missing_by_setting |= {("model", name): missing for name, missing in missing_of_model(config.model).items()}
    sentences = []
    for (section, name), missing in missing_by_setting.items():
        value, usual = (getattr(getattr(each, section), name) for each in (config, preset))
        if name not in given and value == usual:
            continue
        # What is off, at False or at a strength of 0, is not expected to do anything.
        is_off = value is False or value == getattr(getattr(_DEFAULTS, section), name) == 0
        if missing and not is_off:
            words = f"--{name.replace('_', '-')}" + f" {value}" * (value is not True)
            sentences.append(f"{words} has no effect without {missing}")
    if config.continual.use_replay and config.continual.replay_timing == "late" and config.engine.patience > 0:
        sentences.append(
            "--replay-timing late replays most in the last of a task's planned steps: where --patience ends it before, "
            "less is replayed than --replay-fraction says"
        )
    if config.plasticity.use_meta_plasticity and config.plasticity.use_stdp and not config.has_earlier_tasks:
        gate_needs = "--continual-learning with --num-tasks 2 or more"
        sentences.append(f"--use-meta-plasticity gates no update without {gate_needs}; it consolidates synapses")
    return sentences


def warnings_of_machine(config: RunConfig, device_type: str) -> list[str]:
    """Return a sentence for each setting that the machine makes nothing of, and for what it cannot promise."""
    sentences = []
    if config.engine.shard and num_processes() == 1:
        sentences.append("--shard has no effect in one process, which holds all weights (torchrun starts several)")
    if device_type == "cuda":
        if not config.run.deterministic:
            sentences.append(
                "a GPU adds up in any order: resumed, this run goes on, not bit for bit (--deterministic changes that)"
            )
        return sentences
    if config.run.deterministic:
        sentences.append("--deterministic has no effect on a CPU, which computes the same bits each time without it")
    if config.engine.precision == "tf32":
        sentences.append("--precision tf32 has no effect on a CPU, which computes in fp32")
    return sentences
