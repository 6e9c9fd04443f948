"""Values from a JSON file: taken where the setting has that type, refused by name where not."""

from pathlib import Path
from typing import Literal

import pytest

from mambrane.core.errors import UserError
from mambrane.settings.setting_values import checked_value


@pytest.mark.parametrize(
    ("value", "hint", "held"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        (["a", "b"], tuple[str, ...], ("a", "b")),
        ("b", Literal["a", "b"], "b"),
        (None, str | None, None),
        ("x", str | None, "x"),
    ],
)
def test_a_fitting_value_is_held_in_the_type_of_the_setting(value, hint, held):
    found = checked_value(value, hint, where="file")
    assert found == held
    assert type(found) is type(held)


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (True, int, "a whole number"),
        (1, bool, "true or false"),
        (0.5, int, "a whole number"),
        ("3", float, "a number"),
        ([1], tuple[str, ...], "a list, each item text"),
        (True, Literal[0, 1], "one of 0, 1"),
        (3, str | None, "text or null"),
    ],
)
def test_another_value_is_refused_with_what_is_wanted(value, hint, wanted):
    with pytest.raises(UserError) as error:
        checked_value(value, hint, where="run.json: data.x")
    assert error.value.found == f"run.json: data.x: {value!r}"
    assert error.value.wanted == wanted


def test_a_whole_number_beyond_every_float_is_refused_without_its_digits():
    with pytest.raises(UserError, match="a number of 401 digits"):
        checked_value(10**400, float, where="file")


def test_the_path_of_a_file_is_no_value_of_a_setting():
    with pytest.raises(UserError):
        checked_value(Path("a"), str, where="file")
