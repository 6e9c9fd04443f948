"""Help in plain words: what to type first stands first, and no Python shows."""

import re
from contextlib import suppress

import pytest

from mambrane.app.cli import main
from tests.app.test_arguments import flags


def told(capsys, *words):
    # Help of the smaller commands leaves the program, as it stands where their words are parsed.
    with suppress(SystemExit):
        assert main(words) == 0
    return capsys.readouterr().out


def test_help_names_every_flag_and_puts_the_everyday_ones_first(capsys):
    text = told(capsys, "train", "--help")
    for flag in flags():
        assert re.search(rf"{flag}\b", text), flag
    everyday = text.split("Everyday settings")[1]
    assert [everyday.index(flag) for flag in ("--preset", "--data", "--lr", "--tokenizer")] == sorted(
        everyday.index(flag) for flag in ("--preset", "--data", "--lr", "--tokenizer")
    )


@pytest.mark.parametrize("command", ["train", "evaluate", "generate", "score", "compare", "report", "export", "info"])
def test_help_shows_no_python_and_fits_80_columns(command, capsys):
    text = told(capsys, command, "--help")
    assert not re.search(r"None|True|False|\{\w|\(default|''|\bSTR\b|\bINT\b|\bFLOAT\b", text)
    assert max(map(len, text.splitlines())) <= 80


def test_every_switch_has_an_off_form_in_help(capsys):
    text = told(capsys, "train", "--help")
    for name in ("use-mamba", "use-replay", "use-stdp", "continual-learning", "mixed-precision"):
        assert f"--{name}, --no-{name}" in text
