"""Completion for shells: the command line as it is."""

import subprocess

import pytest

from mambrane.app.cli import main
from mambrane.app.completion import argument_parser


def flags_of(command):
    (commands,) = (action for action in argument_parser()._actions if action.dest == "==SUPPRESS==" and action.choices)
    return {flag for action in commands.choices[command]._actions for flag in action.option_strings}


def test_flags_and_their_opposites_are_those_of_the_command():
    assert {"--use-replay", "--no-use-replay", "--logger", "--data"} <= flags_of("train")
    assert flags_of("report") == {"-h", "--help", "--output"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_knows_commands_flags_and_choices(shell, capsys):
    pytest.importorskip("shtab", reason="pip install 'mambrane[completion]'")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("generate", "--integration-mode" if shell != "fish" else "integration-mode", "bidirectional"):
        assert word in script, word
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_shell_that_is_none_is_refused(capsys):
    assert main(["completion", "csh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err
    assert main(["completion"]) == 2
