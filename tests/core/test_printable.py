"""Names that can be shown."""

import os

import pytest

from mambrane.core.errors import UserError
from mambrane.core.printable import printable, printable_path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\u00e9 [one].txt", "caf\u00e9 [one].txt"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_on_paper_is_written_out(name, shown):
    assert printable(name) == shown


def test_a_very_long_path_is_shown_without_its_middle():
    path = "/start/" + "d/" * 5000 + "end\n.txt"
    assert printable_path(path).startswith("/start/d/d/")
    assert printable_path(path).endswith("d/end\\n.txt")
    assert len(printable_path(path)) < 500


def test_a_message_keeps_its_lines_and_shows_any_name():
    error = UserError(f"{os.fsdecode(b'x' + bytes([255]))}:\n  lost", wanted="w", way_out="o")
    assert str(error).splitlines()[:2] == ["x\\xff:", "  lost"]
    str(error).encode()
