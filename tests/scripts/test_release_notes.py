"""Release notes from the changelog."""

import pytest

import mambrane
from scripts.release_notes import CHANGELOG, notes_of

NEWEST = "# Changelog\n\n## 0.2.0 (unreleased)\n\n- one thing\n  in two lines\n- another\n\n"
TEXT = f"{NEWEST}## 0.1.0\n\n- first\n\n## 0.0.1\n"


def test_the_notes_of_a_version_are_its_own_and_each_change_is_one_line():
    assert notes_of(TEXT, "0.2.0") == "- one thing in two lines\n- another\n"
    assert notes_of(TEXT) == notes_of(TEXT, "0.2.0")
    assert notes_of(TEXT, "0.1.0") == "- first\n"


@pytest.mark.parametrize("version", ["0.3.0", "0.0.1", "0.2"])
def test_a_version_without_notes_is_refused_with_those_that_there_are(version):
    with pytest.raises(ValueError, match=r"0\.2\.0, 0\.1\.0, 0\.0\.1"):
        notes_of(TEXT, version)


def test_the_changelog_has_notes_of_this_version():
    assert notes_of(CHANGELOG.read_text(encoding="utf-8"), mambrane.__version__).startswith("- ")
