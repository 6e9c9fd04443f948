"""The words above the settings."""

from mambrane.app.arguments import ARGUMENTS
from mambrane.app.usage import USAGE


def test_every_command_is_named_in_the_overview():
    assert [name for name in ARGUMENTS if f"\n  mambrane {name}" not in USAGE] == []
