"""A package that may be missing: handed over, or named with the extra that brings it."""

import json
import sys

import pytest

from mambrane.core.errors import UserError
from mambrane.core.optional_package import optional_package


def test_a_module_that_is_there_is_returned():
    assert optional_package("json", extra="json", asked_for="reading") is json


def test_one_that_is_missing_is_named_with_what_needs_it_and_the_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "nowhere.inside", None)
    with pytest.raises(UserError) as refused:
        optional_package("nowhere.inside", extra="far", asked_for="--to far", otherwise="stay")
    assert refused.value.found == "--to far: the package nowhere is not installed"
    assert refused.value.way_out == "pip install 'mambrane[far]', or stay"


def test_one_that_lacks_another_package_says_which(tmp_path, monkeypatch):
    (tmp_path / "leans_on_another.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"leans_on_another cannot be imported \(No module named 'not_there_at_all'\)"):
        optional_package("leans_on_another", extra="x", asked_for="y")
