"""Names that earlier versions gave to settings, events and saved state, and what they are called now.

Until 2026-11-28 an optimizer step was called a window, and EWC, SI and MAS were called consolidation. Configurations,
event logs and checkpoints written before that are read through these tables, and nowhere else are the old names known.
"""

from typing import Any

SETTINGS = {
    "run.max_windows": "run.max_steps",
    "continual.consolidation_strength": "continual.regularizer_strength",
    "continual.consolidation_method": "continual.regularizer",
    "continual.consolidation_decay": "continual.regularizer_decay",
}
"""Dotted names of settings, earlier to present."""

EVENTS = {
    "window": "step",
    "window_skipped": "step_skipped",
    "window_empty": "step_empty",
    "window_aborted": "step_aborted",
    "epoch_without_windows": "epoch_without_steps",
}
"""Kinds of events."""

FIELDS = {
    "window": "number",
    "windows": "steps",
    "windows_before": "steps_before",
    "windows_done": "steps_done",
    "total_windows": "total_steps",
}
"""Fields of events."""

NUMBERS = {"consolidation": "regularizer", "replay/windows_remembered": "replay/sequences_remembered"}
"""Names within the penalties and the numbers of an event."""

STATE = (
    (("trainer", "counters", "windows"), "closed"),
    (("trainer", "schedule", "total_windows"), "total_steps"),
    (("trainer", "average_updates"), "ema_updates"),
    (("extensions", "consolidation"), "regularizer"),
    (("extensions", "replay", "memory"), "buffer"),
    (("extensions", "replay", "num_offered"), "num_seen"),
    (("runner", "windows_closed"), "steps_closed"),
)
"""Where a checkpoint's state holds an earlier name, and the present one."""


def with_present_settings(sections: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of a configuration with every setting under its present name."""
    return {
        section: _renamed(values, _names_of_section(section)) if isinstance(values, dict) else values
        for section, values in sections.items()
    }


def with_present_event_names(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a log with its kind and its fields under their present names."""
    event = _renamed(event, FIELDS)
    event["event"] = EVENTS.get(event["event"], event["event"])
    for group in ("numbers", "penalties"):
        if isinstance(event.get(group), dict):
            event[group] = _renamed(event[group], NUMBERS)
    return event


def with_present_state_names(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a checkpoint with every entry under its present name; nothing given is changed."""
    for (*path, earlier), present in STATE:
        parts = _with_entry_renamed(parts, path, earlier, present)
    return parts


def earlier_setting(dotted: str) -> str:
    """Return the first name that a setting had: the name of a run follows from it."""
    return {present: earlier for earlier, present in SETTINGS.items()}.get(dotted, dotted)


def _names_of_section(section: str) -> dict[str, str]:
    dotted = ((earlier.split("."), present.split(".")) for earlier, present in SETTINGS.items())
    return {earlier[1]: present[1] for earlier, present in dotted if earlier[0] == section}


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def _with_entry_renamed(tree: dict[str, Any], path: list[str], earlier: str, present: str) -> dict[str, Any]:
    if not path:
        return _renamed(tree, {earlier: present})
    inner = tree.get(path[0])
    if not isinstance(inner, dict):
        return tree
    return {**tree, path[0]: _with_entry_renamed(inner, path[1:], earlier, present)}
