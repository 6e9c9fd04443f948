"""The public API is what docs/api.md says, and costs nothing until it is used."""

import subprocess
import sys

import pytest

import mambrane
from scripts import api_page


def test_every_public_name_can_be_imported():
    for name in mambrane.__all__:
        assert getattr(mambrane, name) is not None


def test_the_page_of_the_api_is_what_the_package_exports():
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run python scripts/api_page.py"


def test_every_public_name_says_what_it_is():
    for row in api_page.page().splitlines():
        assert not row.endswith("|  |"), row


def test_dir_shows_the_public_names():
    assert set(mambrane.__all__) <= set(dir(mambrane))


def test_the_package_and_a_configuration_import_no_torch():
    program = "import sys, mambrane; mambrane.presets.tiny(); mambrane.UserError; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="perceptron"):
        _ = mambrane.perceptron
