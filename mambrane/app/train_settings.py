"""What `mambrane train` is told: a preset, changed by a file, changed by flags."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from mambrane.app.arguments import StartOptions, TrainArguments
from mambrane.app.flags import given_settings, hints_of, long_forms, split_words
from mambrane.app.parsing import parse, parse_known
from mambrane.run.config import RunConfig, from_dict, read_config_file
from mambrane.run.named_settings import fitted_to
from mambrane.run.presets import PRESETS
from mambrane.run.switches import without_unmet_switches


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
    needed = parse_known(
        Prerequisites, argv, default=Prerequisites(**{f.name: _setting(base, f.name) for f in fields(Prerequisites)})
    )
    chosen |= {name: getattr(needed, name, None) for name in given}
    return fitted_to(base, chosen, given)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prerequisites:
    """The settings that others need, read ahead of them."""

    init_from: str
    task: str
    data: tuple[str, ...]
    scenario: Literal["domain", "class"]
    classes_per_task: int
    image_tokens: Literal["bits", "pixels"]
    hidden_dim: int
    block_pattern: str
    use_mamba: bool
    integration_mode: str
    liquid_backbone: str
    continual_learning: bool
    curriculum: Literal["sequential", "joint", "cumulative", "single-task"]
    num_tasks: int


def _setting(config: RunConfig, name: str) -> Any:  # noqa: ANN401 -- any setting's value
    sections = (getattr(config, f.name) for f in fields(config))
    (value,) = (getattr(section, name) for section in sections if name in {f.name for f in fields(section)})
    return value


def parse_start(argv: Sequence[str]) -> StartOptions:
    """Read --preset and --config ahead of the rest, because they decide the other defaults."""
    return parse_known(StartOptions, argv, default=StartOptions())
