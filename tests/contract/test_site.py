"""The site builds without a warning, its tutorials run, its links lead somewhere, its reference is the code's."""

import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args, get_type_hints
from urllib.parse import unquote, urlsplit

import pytest

from mambrane.continual.config import ContinualConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.settings.methods import METHODS
from scripts import commands_page, events_page, method_pages, settings_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOT_OF_A_METHOD = {"continual_learning", "num_tasks", "curriculum", "max_forgetting", "min_gain"}
"""Settings of the stream of tasks, which docs/continual-metrics.md and the tutorials explain."""


@pytest.mark.parametrize("page", [commands_page, events_page, settings_page], ids=lambda page: page.__name__)
def test_a_page_of_the_reference_is_what_the_code_says(page):
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), f"run python -m {page.__name__}"


def test_the_facts_of_every_page_of_a_method_are_those_of_the_code():
    for path in method_pages.pages():
        text = path.read_text(encoding="utf-8")
        assert text == method_pages.with_facts(path.stem, text), "run python -m scripts.method_pages"
    text = method_pages.INDEX.read_text(encoding="utf-8")
    assert text == method_pages.with_costs(text), "run python -m scripts.method_pages"


def test_every_method_every_rule_and_every_setting_of_theirs_has_its_page():
    heads = [method_pages.head_of(path.read_text(encoding="utf-8")) for path in method_pages.pages()]
    assert {method.name for method in METHODS} <= {head.method for head in heads}
    for section, name in ((PlasticityConfig, "stdp_type"), (ContinualConfig, "regularizer")):
        choices = get_args(get_type_hints(section)[name])
        assert set(choices) == {head.turn_on[name] for head in heads if name in head.turn_on}
    settings = {field.name for section in (ContinualConfig, PlasticityConfig) for field in fields(section)}
    assert settings - NOT_OF_A_METHOD <= {name for head in heads for name in head.settings}


@pytest.mark.parametrize("path", method_pages.pages(), ids=lambda path: path.stem)
def test_a_page_of_a_method_says_all_that_is_promised(path):
    text = path.read_text(encoding="utf-8")
    for part in ("**Idea.**", "**Formula.**", "## Flags and facts", "## Cost", "## When it help", "## Source"):
        assert part in text


def test_every_page_stands_in_the_index_of_the_site():
    indexes = [(DOCS / "index.md", ""), (DOCS / "experiments.md", ""), (DOCS / "methods" / "index.md", "methods/")]
    named = {prefix + line for path, prefix in indexes for line in path.read_text(encoding="utf-8").splitlines()}
    pages = [path.relative_to(DOCS) for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    missing = [
        str(page)
        for page in pages
        if page.parts[0] != "decisions" and page != Path("index.md") and page.with_suffix("").as_posix() not in named
    ]
    assert missing == [], "name them in docs/index.md, docs/experiments.md or docs/methods/index.md"


class _Page(HTMLParser):
    """The addresses that a page leads to, those that a browser fetches to show it, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.fetched.append(given["href"])
        elif given.get("src"):
            self.fetched.append(given["src"])


def _broken(folder: Path) -> list[str]:
    """Return every link of a built site that leads to no file or no anchor of it, and every fetch from elsewhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for address in page.links + page.fetched:
            parts = urlsplit(address)
            where = f"{path.relative_to(folder)}: {address}"
            if parts.scheme in ("http", "https", "mailto"):
                found += [f"{where} is fetched"] * (address in page.fetched)
            elif parts.scheme != "data":
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                is_there = target.exists()
                if not is_there or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                    found.append(where)
    return found


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html"),
        ('<a href="#nowhere">x</a>', "#nowhere"),
        ('<script src="https://example.org/x.js"></script>', "is fetched"),
        ('<a href="https://example.org">x</a><p id="here"><a href="page.html#here">y</a>', None),
    ],
)
def test_a_link_that_leads_nowhere_and_a_script_from_elsewhere_are_found(tmp_path, text, word):
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    found = _broken(tmp_path)
    assert found == [] if word is None else word in found[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_builds_every_tutorial_runs_to_its_end_and_every_link_leads_somewhere(tmp_path):
    pytest.importorskip("myst_nb", reason="the site needs requirements/docs.txt")
    words = ["-W", "--keep-going", "-q", "-j", "2", "-b", "html"]
    site = tmp_path / "site" / "html"
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, "docs", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for page in (site / "tutorials").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        has_picture = "_images/" in text or 'src="data:image/svg+xml' in text
        assert has_picture, f"{page.name}: each tutorial ends in a picture"
        assert 'id="change-something"' in text, f"{page.name}: and in something to change"
        assert f"/{page.stem}.ipynb" in text, f"{page.name}: can be had as a notebook"
    assert "<math" in (site / "spikes.html").read_text(encoding="utf-8")
    assert _broken(site) == []
