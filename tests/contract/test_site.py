"""The documentation site builds without a warning, its tutorials run, and its reference is the program's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import settings_page

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_what_the_configuration_says():
    assert settings_page.PAGE.read_text() == settings_page.page(), "run python scripts/settings_page.py"


def test_every_page_stands_in_the_index_of_the_site():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    missing = [str(page) for page in pages if page.parts[0] != "decisions" and str(page.with_suffix("")) not in index]
    assert missing == [], "name them in docs/index.md"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_builds_and_every_tutorial_runs_to_its_end(tmp_path):
    pytest.importorskip("myst_nb", reason="the site needs requirements/docs.txt")
    words = ["-W", "--keep-going", "-q", "-b", "html", "-D", f"nb_execution_cache_path={tmp_path / 'executed'}"]
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, "docs", str(tmp_path / "site" / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    tutorials = (tmp_path / "site" / "html" / "tutorials").glob("*.html")
    assert all("_images/" in page.read_text() for page in tutorials), "each tutorial ends in a picture"
