"""Settings by name, as flags and study files give them: made into a whole configuration, fitted to one another."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from mambrane.continual.config import ContinualConfig
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.config import DataConfig
from mambrane.data.images import DIGITS, is_image_data
from mambrane.data.sources import find_sources
from mambrane.settings.config import SECTION_OF, RunConfig, from_dict
from mambrane.settings.presets import PRESETS
from mambrane.settings.setting_values import checked_value
from mambrane.settings.switches import with_fitting_heads, without_unmet_switches


def config_of(settings: Mapping[str, Any], *, source: str) -> RunConfig:
    """Return the configuration that `mambrane train` would have with these settings as flags.

    Args:
        settings: values by the name of the flag, with - or _; `preset` is the recipe to start from.
        source: where they stand, for messages.

    Raises:
        UserError: an unknown setting, a value that it does not take, or settings that do not go together.
    """
    chosen = {name.replace("-", "_"): value for name, value in settings.items()}
    preset = chosen.pop("preset", "base")
    if preset not in PRESETS:
        raise UserError(f"{source}: preset {preset!r}", wanted=" or ".join(PRESETS), way_out='preset = "tiny"')
    known = settings_by_name()
    sections: dict[str, dict[str, Any]] = {}
    for name, value in chosen.items():
        if name not in known:
            raise _unknown(name, source)
        section, hint = known[name]
        # One value where several may stand, as on the command line.
        listed = [value] if get_origin(hint) is tuple and isinstance(value, str) else value
        checked = checked_value(listed, hint, where=f"{source}: {_flag_name(name)}")
        sections.setdefault(section, {})[name] = checked
    chosen = {name: value for values in sections.values() for name, value in values.items()}
    base = fitted_to(PRESETS[preset](), chosen, given=chosen)
    return from_dict(sections, source=source, base=base)


def configure(**settings: Any) -> RunConfig:  # noqa: ANN401 -- any setting's value
    """Return the configuration that `mambrane train` would have with these settings as flags.

    What a flag's value fits of itself is fitted here too: the number of tasks to the text, heads to the width.

    Args:
        **settings: values by the name of the flag, with _ for -; `preset` is the recipe to start from, base where it is
            left out. Paths and lists of them are taken as they are.

    Raises:
        UserError: an unknown setting, a value that it does not take, or settings that do not go together.

    Example:
        >>> config = configure(preset="tiny", learning_rate=2e-3, use_stdp=False)
        >>> config.engine.learning_rate, config.plasticity.use_stdp
        (0.002, False)
    """
    return config_of({name: _without_paths(value) for name, value in settings.items()}, source="configure")


def settings_by_name() -> dict[str, tuple[str, Any]]:
    """Return the section and the type of each setting."""
    hints = {section: get_type_hints(kind) for section, kind in get_type_hints(RunConfig).items()}
    return {name: (section, hints[section][name]) for name, section in SECTION_OF.items()}


def fitted_to(base: RunConfig, chosen: Mapping[str, Any], given: Collection[str]) -> RunConfig:
    """Return a preset fitted to the user's choices: number of tasks, switches that lean on others, heads.

    `chosen` has all settings that others depend on; those in `given` will be set again after this.

    Raises:
        UserError: the text that was chosen is not there.
    """
    chosen = dict(chosen)
    if chosen.get("task", base.run.task) == "vision":
        base = with_image_settings(base, chosen)
    # The config.json of a run that started from weights says every size: the weights need not be there any more.
    if chosen.get("init_from") and not {field.name for field in fields(base.model)} <= chosen.keys():
        # Reading weights imports torch, which reading the command line does not wait for otherwise.
        from mambrane.settings.initial import shaped_like

        base = shaped_like(base, chosen["init_from"], chosen)
    continual_learning = chosen.get("continual_learning", base.continual.continual_learning)
    if continual_learning and "num_tasks" not in chosen:
        num_tasks = num_domains_in(replace(base.data, **_of_data(chosen)))
        base = replace(base, continual=replace(base.continual, num_tasks=num_tasks))
        if num_tasks == 1 and "continual_learning" not in chosen:
            base = without_unmet_switches(base, chosen | {"continual_learning": False})
            base = replace(base, continual=replace(base.continual, continual_learning=False))
        chosen["num_tasks"] = num_tasks
    base = without_unmet_switches(base, chosen)
    hidden_dim = chosen.get("hidden_dim", 0)
    if hidden_dim < 1:
        return base
    # The width and what must divide it are checked together, so they change together.
    return with_fitting_heads(base, hidden_dim, chosen, given)


def with_image_settings(base: RunConfig, chosen: Mapping[str, Any]) -> RunConfig:
    """Return a preset for images: scikit-learn's digits, whole, in sequences of an image each; what is chosen stays.

    Raises:
        UserError: the images that were chosen are not there.
    """
    usual: dict[str, Any] = {"data": (DIGITS,), "tokenizer": "bytes"}
    usual |= {"max_domain_bytes": 0, "max_heldout_bytes": 0, "epoch_tokens": 0}
    unset = {name: value for name, value in usual.items() if name not in chosen}
    data = replace(base.data, **unset, **_of_data(chosen))
    if is_image_data(data.data) and "sequence_length" not in chosen:
        # As below: it imports torch, which reading the command line does not wait for otherwise.
        from mambrane.data.image_tasks import tokens_per_image

        data = replace(data, sequence_length=tokens_per_image(data))
    return replace(base, data=data)


def num_domains_in(data: DataConfig) -> int:
    """Return how many domains there are in `--data`; nothing of their text is read."""
    if data.data == ("builtin",):
        return ContinualConfig().num_tasks
    if is_image_data(data.data):
        from mambrane.data.image_tasks import num_image_tasks

        return num_image_tasks(data)
    return len(find_sources(data.data, EventLog()))


def _of_data(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the data that decide how many domains there are, among those chosen."""
    names = ("data", "image_tokens", "scenario", "classes_per_task")
    found = {name: chosen[name] for name in names if name in chosen}
    return found | ({"data": tuple(found["data"])} if "data" in found else {})


def _without_paths(value: Any) -> Any:  # noqa: ANN401 -- any setting's value
    """Return paths, alone or in a list, as text."""
    if isinstance(value, (list, tuple)):
        return [_without_paths(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _flag_name(name: str) -> str:
    return name.replace("_", "-")


def _unknown(name: str, source: str) -> UserError:
    names = [*settings_by_name(), "preset"]
    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    alike += [known for known in names if f"_{name}" in f"_{known}" and known not in alike][:3]
    nearest = " or ".join(_flag_name(known) for known in alike[:3])
    return UserError(
        f"{source}: no setting {_flag_name(name)}",
        wanted=f"did you mean {nearest}?" if nearest else "the name of a flag of `mambrane train`, without the --",
        way_out="correct the name; mambrane train --help lists them all",
    )
