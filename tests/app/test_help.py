"""Help in plain words: what to type first stands first, and no Python shows."""

import re
import sys
from contextlib import suppress

import pytest

from mambrane.app.cli import main
from mambrane.app.flags import given_settings
from tests.app.test_cli import flags


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


def test_the_short_form_counts_as_given():
    assert "learning_rate" in given_settings(["--lr", "3e-3"])
    assert "use_replay" in given_settings(["--no-use-replay"])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("train --learning-rat 3", "did you mean --learning-rate"),
        ("train --no-use-replays", "did you mean --no-use-replay"),
        ("generate runs/x --temp 3", "did you mean --temperature"),
        ("train --epochs x", "a whole number"),
        ("train --stdp-type tripplet", "--stdp-type triplet"),
        ("train --use-mamba true", "no value: --use-mamba, or --no-use-mamba"),
        ("train texts/", "--data texts/"),
        ("evaluate", "evaluate without a run"),
    ],
)
def test_a_word_that_is_not_understood_is_answered_with_the_nearest_one(words, answer, capsys):
    assert main(words.split()) == 2
    assert answer in " ".join(capsys.readouterr().err.split())


def test_info_without_a_run_says_what_a_bug_report_needs(capsys):
    text = told(capsys, "info")
    for word in ("python", "torch", "numba", "llvmlite", "numpy", "processor", "threads", "selective_scan", "cache"):
        assert word in text
    assert sys.version.split()[0] in text
