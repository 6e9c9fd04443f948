"""Addresses on the web that the project gives: whole, encrypted, of the form that their host has, none of a stand-in.

Whether a host answers is asked by `make linkcheck`, which needs a network. Here stands what can be told without one.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml")),
    *(path for folder in ("mambrane", "examples") for path in (ROOT / folder).rglob("*.py")),
]
ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]]*")
OWN_MACHINE = ("127.0.0.1", "localhost")
OF_THE_PROJECT = "https://github.com/mambrane/mambrane"
"""Not public yet: docs/reference/addresses.md says so, and only what a package index shows may name it."""
MAY_NAME_IT = {"pyproject.toml", "addresses.md"}
FORMS = {
    "arxiv.org": r"/abs/\d{4}\.\d{5}",
    "doi.org": r"/10\.\d{4,9}/\S+",
    "github.com": r"/[\w.-]+/[\w.-]+(/(issues(/\d+)?|(blob|tree)/[\w.-]+/\S+))?",
}
"""What may follow a host; a number of a paper has five digits behind its month."""


FILES_OF_OTHERS = {"examples/complete_nlp_example.py", "examples/checkpointing.py"}
"""Of Accelerate and of Avalanche."""


def faults_of(address: str) -> list[str]:
    """Return what is wrong with an address, as far as its form tells."""
    parts = urlsplit(address)
    host = (parts.hostname or "").removeprefix("www.")
    if host in OWN_MACHINE or address == "http://www.w3.org/2000/svg":
        return []
    faults = ["not encrypted"] * (parts.scheme != "https")
    faults += ["no host of the web"] * (not re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host))
    faults += ["a stand-in"] * (re.search(r"(^|\.)example(\.|$)|\.(invalid|test|local)$", host) is not None)
    faults += ["ends in a mark"] * (re.search(r"[.,;:!?]$", address) is not None)
    if host in FORMS and not re.fullmatch(FORMS[host], parts.path):
        faults.append(f"no address of {host}")
    return faults


def given() -> list[tuple[Path, str]]:
    """Return every address and the file that gives it; in code only those that are written out."""
    found = []
    for path in TEXTS:
        for address in ADDRESS.findall(path.read_text(encoding="utf-8")):
            # In running text a sentence may end behind an address that is no link.
            if "{" not in address:
                found.append((path, address.rstrip(".,;")))
    return found


def test_every_address_has_the_form_that_its_host_has():
    assert len(given()) > 80
    wrong = {
        f"{path.relative_to(ROOT)}: {address}: {faults_of(address)}" for path, address in given() if faults_of(address)
    }
    assert wrong == set()


def test_what_is_not_public_yet_is_named_where_that_is_said_and_nowhere_else():
    pages = {path.name for path, address in given() if address.startswith(OF_THE_PROJECT)}
    assert pages == MAY_NAME_IT


def test_a_paper_is_linked_under_its_own_number():
    links = [
        (path.name, *found)
        for path in TEXTS
        for found in re.findall(
            r"\[(?:arXiv|doi)\s+([^\]]+)\]\(https://(?:arxiv\.org/abs|doi\.org)/([^)]+)\)",
            path.read_text(encoding="utf-8"),
        )
    ]
    assert len(links) > 25
    assert [link for link in links if link[1] != link[2]] == []


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://arxiv.org/abs/1612.00796", "not encrypted"),
        ("https://arxiv.org/abs/1612.0079", "no address of arxiv.org"),
        ("https://arxiv.org/1612.00796", "no address of arxiv.org"),
        ("https://github.com/ContinualAI", "no address of github.com"),
        ("https://github.com/ContinualAI/avalanche/issues/x", "no address of github.com"),
        ("https://doi.org/78829", "no address of doi.org"),
        ("https://docs.example.org/page", "a stand-in"),
        ("https://mambrane.invalid", "a stand-in"),
        ("https://localhost8000/x", "no host of the web"),
        ("https://arxiv.org/abs/1612.00796.", "ends in a mark"),
    ],
)
def test_an_address_that_cannot_be_right_is_found(address, fault):
    assert fault in faults_of(address)


def test_every_file_that_the_docs_name_exists():
    named = {
        (path.name, found)
        for path in TEXTS
        if path.suffix == ".md" and path.name != "CHANGELOG.md"
        for found in re.findall(
            r"`((?:tests|docs|mambrane|benchmarks|examples|scripts|requirements)/[\w/.-]*\w)`",
            path.read_text(encoding="utf-8"),
        )
    }
    assert len(named) > 50
    assert {name for name in named if name[1] not in FILES_OF_OTHERS and not (ROOT / name[1]).exists()} == set()
