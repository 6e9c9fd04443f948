"""Every number that a person can set has bounds, checked wherever it is set."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import jaxtyping
import pytest

from mambrane.app.arguments import GenerateArguments
from mambrane.app.cli import main
from mambrane.core.bounds import Bounds, check_settings
from mambrane.core.errors import UserError
from mambrane.measure.sampling import Sampling
from mambrane.settings.config import RunConfig, RunOptions, from_dict
from mambrane.settings.setting_values import read_config_file

CLASSES = [type(getattr(RunConfig(), field.name)) for field in dataclasses.fields(RunConfig)] + [Sampling]
NUMBERS = [
    (kind, field.name)
    for kind in CLASSES
    for field in dataclasses.fields(kind)
    if get_type_hints(kind)[field.name] in (int, float)
]
NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**30, -(10**30), 1e30, True, "3", None, [1]]
TAKES_NEGATIVE_NUMBERS = {"seed"}
"""Any 64-bit number is a seed."""


def bounds_of(kind, name):
    hint = get_type_hints(kind, include_extras=True)[name]
    (bounds,) = (mark for mark in get_args(hint)[1:] if isinstance(mark, Bounds))
    return bounds


def made_past_the_type_checker(kind, **changed):
    """Return settings as a program without type checks could make them; the tests check types on the way in."""
    settings = object.__new__(kind)
    values = {field.name: field.default for field in dataclasses.fields(kind)} | changed
    for name, value in values.items():
        object.__setattr__(settings, name, value)
    return settings


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_no_setting_takes_what_is_no_number_or_of_a_size_that_no_machine_has(kind, name):
    flag = f"--{name.replace('_', '-')}"
    for value in NO_NUMBERS if name in TAKES_NEGATIVE_NUMBERS else [*NO_NUMBERS, -1]:
        with pytest.raises(UserError) as error:
            check_settings(made_past_the_type_checker(kind, **{name: value}))
        assert str(error.value).startswith(f"{flag} ")
        assert error.value.way_out.startswith(flag)
        assert len(str(error.value)) < 400


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_a_number_at_the_end_of_its_bounds_is_taken_and_one_beyond_is_not(kind, name):
    bounds, number = bounds_of(kind, name), get_type_hints(kind)[name]
    for side, end, sign in (("least", bounds.least, -1), ("most", bounds.most, 1)):
        is_without = bounds.without in ("both", side)
        beyond = end + sign if number is int else math.nextafter(end, sign * math.inf)
        assert bounds.hold(end) is not is_without
        assert not bounds.hold(beyond)
        with pytest.raises(UserError, match=name.replace("_", "-")):
            kind(**{name: number(end if is_without else beyond)})


@pytest.mark.parametrize("kind", CLASSES)
def test_no_choice_takes_another_word(kind):
    for field in dataclasses.fields(kind):
        if get_origin(get_type_hints(kind)[field.name]) is Literal:
            with pytest.raises(UserError, match="one of "):
                check_settings(made_past_the_type_checker(kind, **{field.name: "nothing of this name"}))


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e30"])
@pytest.mark.parametrize(
    "flag", ["--weight-decay", "--meta-kappa", "--meta-lr", "--learning-rate", "--spike-threshold"]
)
def test_the_command_line_refuses_by_flag(flag, value, capsys):
    assert main(["train", "--dry-run", f"{flag}={value}"]) == 2
    told = capsys.readouterr().err
    assert flag in told
    assert "Traceback" not in told


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "9" * 400, "-1"])
def test_a_file_is_refused_by_setting(text):
    with pytest.raises(UserError, match=r"weight.decay"):
        from_dict({"engine": {"weight_decay": json.loads(text)}}, source="c.json")


@pytest.mark.parametrize("name", ["device", "places"])
@pytest.mark.parametrize("value", [None, 5, b"x", ["builtin"], ("builtin", 5)])
def test_no_text_and_no_list_of_texts_takes_anything_else(name, value):
    @dataclasses.dataclass
    class Settings:
        device: str = "auto"
        places: tuple[str, ...] = ("builtin",)

    check_settings(Settings())
    with pytest.raises(UserError, match=f"--{name} .*"):
        check_settings(Settings(**{name: value}))


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_folder_can_have_is_refused(name):
    with pytest.raises(UserError, match="no folder can be called that"):
        RunOptions(output_dir=name)


@pytest.mark.parametrize("section", ["run", "data", "model", "engine", "plasticity", "continual"])
@pytest.mark.parametrize("value", [None, {}, 5])
def test_a_section_is_of_its_class(monkeypatch, section, value):
    # Without the type checker of the tests, as users are.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match=rf"RunConfig\({section}="):
        RunConfig(**{section: value})


@pytest.mark.parametrize("text", ['{"model": {"hidden_dim": 16, "hidden_dim": 32}}', '{"run": {}, "run": {"seed": 1}}'])
def test_a_name_that_stands_twice_in_a_file_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match="stands in it twice"):
        read_config_file(tmp_path / "c.json")


@pytest.mark.parametrize("change", [{"max_tokens": 0}, {"max_tokens": 10**30}, {"seed": 2**64}])
def test_what_generate_is_asked_is_checked(change):
    with pytest.raises(UserError, match=next(iter(change)).replace("_", "-")):
        GenerateArguments(run=Path("runs/x"), **change)


def test_the_message_shows_found_wanted_and_way_out():
    @dataclasses.dataclass
    class Settings:
        part_kept: Annotated[float, Bounds(0, 1, "most", meaning_of_0="off")] = 0.5
        use_it: bool = True

    with pytest.raises(UserError) as error:
        check_settings(Settings(part_kept=1))
    assert str(error.value).split("\n") == [
        "--part-kept 1",
        "  wanted:  a number, at least 0, below 1 (0: off)",
        "  way out: --part-kept 0.5",
    ]
    with pytest.raises(UserError, match="--use-it or --no-use-it"):
        check_settings(Settings(use_it=1))
