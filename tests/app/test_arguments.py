"""The arguments of the commands: their flags are recorded, distinct and explained."""

import dataclasses
import sys
from pathlib import Path

from mambrane.settings.config import RunConfig

FLAGS_FILE = Path(__file__).parent / "flags.txt"


def flags() -> list[str]:
    sections = dataclasses.fields(RunConfig)
    names = [f.name for s in sections for f in dataclasses.fields(getattr(RunConfig(), s.name))]
    return sorted("--" + name.replace("_", "-") for name in [*names, "preset", "config", "json"])


def test_the_flags_are_the_recorded_ones():
    assert flags() == FLAGS_FILE.read_text().split(), "a flag came or went: record it in tests/app/flags.txt"


def test_no_two_settings_share_a_flag():
    assert len(flags()) == len(set(flags()))


def test_every_setting_says_what_it_is():
    for section in dataclasses.fields(RunConfig):
        config = getattr(RunConfig(), section.name)
        source = Path(sys.modules[type(config).__module__].__file__).read_text()
        for field in dataclasses.fields(config):
            declaration = source.index(f"\n    {field.name}: ")
            after = source[declaration:].split("\n")[2].strip()
            assert after.startswith('"""'), f"{section.name}.{field.name} has no sentence"
