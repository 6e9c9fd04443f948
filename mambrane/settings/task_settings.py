"""Which settings a task of its own may have, and what a run is trained with when some of them change."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mambrane.core.errors import UserError
from mambrane.settings.config import OPERATIONAL, SECTION_OF, RunConfig, flat, from_dict

PER_TASK = (
    "run.epochs",
    "run.max_steps",
    "run.device",
    "run.deterministic",
    "run.extension",
    "run.logger",
    "run.require_same_environment",
    "data.data",
    "data.batch_size",
    "data.epoch_tokens",
    "data.max_domain_bytes",
    "data.max_heldout_bytes",
    "data.keep_heldout_bytes",
    "data.heldout_fraction",
    "engine",
    "plasticity",
    "continual",
)
"""Settings that may be others from task to task; a section stands for all of its settings."""
NEVER = ("continual.continual_learning", "continual.num_tasks", "continual.curriculum")
"""Settings in these sections that describe how a run began."""
NOT_RECORDED = (*OPERATIONAL, "run.epochs")
"""Settings that a task's record does not hold: what is learned does not depend on them, or stands elsewhere in it."""


def dotted(name: str) -> str:
    """Return the full name of a setting: learning_rate is engine.learning_rate.

    Raises:
        UserError: there is no such setting.
    """
    if name in SECTION_OF:
        return f"{SECTION_OF[name]}.{name}"
    raise UserError(f"no setting {name!r}", wanted="the name of a setting", way_out="mambrane learn --help")


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return a configuration with some settings, given by dotted name, at other values.

    Raises:
        UserError: a value that its setting does not take.
    """
    sections: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        section, _, setting = name.partition(".")
        sections.setdefault(section, {})[setting] = list(value) if isinstance(value, tuple) else value
    return from_dict(sections, source="the settings of a task", base=config)


def for_learning(began: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of tasks that are added to a run.

    Args:
        began: what the run began with.
        changes: settings that are asked for, by dotted name.

    Raises:
        UserError: a setting that cannot change within a run; the message lists each.
    """
    if began.continual.curriculum == "single-task":
        raise UserError(
            "a run with --curriculum single-task has a model for each task, and none that has learned all",
            wanted="a run of one model",
            way_out="learn from a run that was trained without it",
        )
    before = flat(began)
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()}
    refused = [name for name in asked if not may_change(name) and asked[name] != before[name]]
    # An average that was never kept cannot be there, and one that was kept would be lost.
    average = asked.get("engine.ema_decay", before["engine.ema_decay"])
    refused += ["engine.ema_decay"] if (average > 0) != (began.engine.ema_decay > 0) else []
    if refused:
        differences = (f"{name}: {before[name]} -> {asked[name]}" for name in refused)
        raise UserError(
            "\n  ".join(["this cannot be another in a later task of the run:", *differences]),
            wanted="settings of training, plasticity, replay and text",
            way_out="leave it out, or train a new run",
        )
    # Checked by itself: these are epochs of the added tasks alone.
    replace(began.run, epochs=changes.get("run.epochs", began.run.epochs))
    # Whatever the run began as, there are earlier tasks now: first of all, as what was asked for may need them.
    num_tasks = began.continual.num_tasks if began.has_earlier_tasks else 2
    later = with_settings(
        began,
        {
            "run.epochs": max(began.run.epochs, num_tasks),
            "run.max_steps": 0,
            "continual.continual_learning": True,
            "continual.curriculum": "sequential",
            "continual.num_tasks": num_tasks,
        },
    )
    return with_settings(
        later, {name: value for name, value in changes.items() if name != "run.epochs" and name not in NEVER}
    )


def own_settings(began: RunConfig, config: RunConfig) -> dict[str, Any]:
    """Return the settings of a later task's configuration that are not those that the run began with."""
    before, now = flat(began), flat(config)
    return {name: value for name, value in now.items() if before[name] != value and name not in NOT_RECORDED}


def may_change(name: str) -> bool:
    """Return whether a setting, by dotted name, may be another in a later task."""
    return name not in NEVER and (name in PER_TASK or name.partition(".")[0] in PER_TASK)
