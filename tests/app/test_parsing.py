"""Reading the arguments of a command."""

import pytest

from mambrane.app.arguments import CompletionArguments, ReportArguments, StartOptions
from mambrane.app.parsing import asks_for_help, parse, parse_known
from mambrane.core.errors import UserError


def test_settings_that_are_not_asked_for_are_passed_over():
    words = ["--preset", "tiny", "--epochs", "3"]
    assert parse_known(StartOptions, words, default=StartOptions()).preset == "tiny"


def test_help_is_seen_wherever_it_stands():
    assert asks_for_help(["runs/x", "--help"])
    assert not asks_for_help(["runs/help"])


def test_a_command_without_its_run_is_refused_and_one_that_needs_none_is_not():
    with pytest.raises(UserError, match="report without a run"):
        parse(ReportArguments, [], command="report")
    assert parse(CompletionArguments, ["zsh"], command="completion").shell == "zsh"
