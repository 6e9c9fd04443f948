"""The words above the settings."""

from mambrane.app.cli import COMMANDS
from mambrane.app.usage import USAGE


def test_every_command_is_named_in_the_overview():
    assert [name for name in COMMANDS if f"\n  mambrane {name}" not in USAGE] == []
