"""The console prints text as it is."""

import io

import pytest

from mambrane.watch.plain_console import plain_console


@pytest.mark.parametrize("text", ["ab [draft]", ":smile:", "[/]", "1,000 of 'x'"])
def test_text_stands_as_it_is(text):
    file = io.StringIO()
    plain_console(file, width=80).print(text)
    assert file.getvalue() == f"{text}\n"


def test_a_terminal_that_says_it_has_no_columns_gets_the_text(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "0")
    plain_console().print("the text")
    assert capsys.readouterr().out == "the text\n"
    plain_console(stderr=True).print("the error")
    assert capsys.readouterr().err == "the error\n"
