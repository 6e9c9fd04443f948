"""Errors that a user can act on."""

import pytest

from mambrane.core.errors import MambraneError, UserError


def test_an_error_says_what_was_found_what_was_wanted_and_the_way_out():
    error = UserError("--epochs 0", wanted="1 or more", way_out="--epochs 1")
    assert str(error) == "--epochs 0\n  wanted:  1 or more\n  way out: --epochs 1"
    assert (error.found, error.wanted, error.way_out) == ("--epochs 0", "1 or more", "--epochs 1")


def test_what_a_terminal_would_obey_is_written_out_and_lines_stay_lines():
    error = UserError("a\x1b[2Jb\nsecond line", wanted="w", way_out="o")
    assert error.found == "a\\x1b[2Jb\nsecond line"


def test_it_is_a_value_error_for_scripts_and_one_of_ours_for_the_command_line():
    with pytest.raises(ValueError, match="found"):
        raise UserError("found", wanted="w", way_out="o")
    assert issubclass(UserError, MambraneError)
