"""The tree's direction of imports, and that every module can be imported with the base dependencies."""

import importlib
import pkgutil
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import mambrane

MODULES = sorted(module.name for module in pkgutil.walk_packages(mambrane.__path__, "mambrane."))


def test_a_file_imports_only_from_folders_above_its_own(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_imported_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__, name
