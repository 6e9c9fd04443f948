"""Samples can be read in a log: what is given and what is written are apart, control characters are visible."""

import pytest

from mambrane.app.samples import print_samples, sample_lines
from mambrane.report.data import Sample


def test_the_given_and_the_written_text_are_not_glued_in_a_log(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_samples([Sample("def f(", "x):\n\treturn\x1b[2J\n\n", "seed 0", title="python")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["given    | def f(", "written  | x):", "written  |     return\\x1b[2J"]


@pytest.mark.parametrize("columns", ["0", "1", "11"])
def test_a_terminal_that_says_it_has_next_to_no_columns_shows_the_samples(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    print_samples([Sample("def f(", "x): return", "seed 0", title="python")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["given    | def f(", "written  | x): return"]


def test_long_lines_are_wrapped_and_nothing_but_spaces_gets_lost():
    lines = sample_lines("word " * 40, 30)
    assert max(map(len, lines)) <= 30
    assert " ".join(lines).split() == ["word"] * 40
