"""What `mambrane train` is told: a preset, changed by a file, changed by flags."""

from collections.abc import Sequence
from dataclasses import fields, make_dataclass

from mambrane.app.arguments import StartOptions, TrainArguments
from mambrane.app.flags import given_settings, hints_of, long_forms, split_words
from mambrane.app.parsing import parse, parse_known
from mambrane.settings.config import SECTION_OF, RunConfig, from_dict
from mambrane.settings.named_settings import fitted_to
from mambrane.settings.presets import PRESETS
from mambrane.settings.setting_values import read_config_file
from mambrane.settings.switches import PREREQUISITES, without_unmet_switches

READ_AHEAD = (
    *("init_from", "task", "data", "scenario", "classes_per_task", "image_tokens", "hidden_dim"),
    *PREREQUISITES,
)
"""The settings that others need."""


def parse_train(argv: Sequence[str]) -> RunConfig:
    """Return the configuration that the arguments of `mambrane train` describe.

    Raises:
        UserError: an argument, a file or a combination of settings that does not fit.
    """
    base = base_of(argv)
    default = TrainArguments(start=parse_start(argv), **{f.name: getattr(base, f.name) for f in fields(RunConfig)})
    parsed = parse(TrainArguments, long_forms(argv), command="train", default=default)
    return RunConfig(**{f.name: getattr(parsed, f.name) for f in fields(RunConfig)})


def base_of(argv: Sequence[str]) -> RunConfig:
    """Return what the flags start from: the preset, changed by the --config file, fitted to what was chosen."""
    argv = long_forms(argv)
    split_words(argv, hints_of(TrainArguments), command="train")
    start, given = parse_start(argv), given_settings(argv)
    sections = {} if start.config is None else read_config_file(start.config)
    chosen = {name: value for values in sections.values() for name, value in values.items()}
    base = without_unmet_switches(PRESETS[start.preset](), chosen)
    base = from_dict(sections, source=str(start.config), base=base)
    hints = hints_of(TrainArguments)
    ahead = make_dataclass("Prerequisites", [(name, hints[name]) for name in READ_AHEAD], frozen=True, kw_only=True)
    values = {name: getattr(getattr(base, SECTION_OF[name]), name) for name in READ_AHEAD}
    needed = parse_known(ahead, argv, default=ahead(**values))
    chosen |= {name: getattr(needed, name, None) for name in given}
    return fitted_to(base, chosen, given)


def parse_start(argv: Sequence[str]) -> StartOptions:
    """Read --preset and --config ahead of the rest, because they decide the other defaults."""
    return parse_known(StartOptions, argv, default=StartOptions())
