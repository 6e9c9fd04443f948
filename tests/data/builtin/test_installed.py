"""The domains that every installation holds."""

import re
from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.builtin import installed as builtin
from mambrane.data.builtin.installed import builtin_sources
from mambrane.data.config import DataConfig
from mambrane.data.corpus import cached_corpus
from mambrane.data.domains import load_domains
from mambrane.settings.presets import PRESETS

NAMES = ["python", "cpp", "english", "tables", "markup"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What is read once for one test need not be read again for another: presets share their text."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def loaded(cache):
    return load_domains(DataConfig(max_domain_bytes=60_000), cache, EventLog())


def text_of(loaded, name, split="train"):
    tokenizer, domains = loaded
    domain = domains[NAMES.index(name)]
    return tokenizer.decode(getattr(domain, split).tokens).decode()


def test_five_domains_come_in_their_order_and_fill_their_cap(loaded):
    _, domains = loaded
    assert [domain.name for domain in domains] == NAMES
    for domain in domains:
        assert 55_000 <= domain.train.num_bytes + domain.heldout.num_bytes <= 60_000
        assert 0.05 <= domain.heldout.num_bytes / 60_000 <= 0.15


def test_no_file_and_no_text_stands_in_both_splits(loaded):
    for domain in loaded[1]:
        in_blocks = {file.relative for source in builtin_sources() for file in source.files if file.has_own_documents}
        places = {"train": set(), "heldout": set()}
        for file in domain.record["files"]:
            places[file["split"]] |= {file["content_hash"]} | ({file["path"]} - in_blocks)
        assert not places["train"] & places["heldout"]


def test_a_capped_domain_comes_from_many_files(loaded):
    for domain in loaded[1]:
        assert len(domain.record["files"]) >= 10


def test_each_domain_reads_like_its_name(loaded):
    assert text_of(loaded, "python").count("def ") > 50
    assert text_of(loaded, "cpp").count("const ") > 50
    assert "#include <" not in text_of(loaded, "cpp")
    english = text_of(loaded, "english")
    assert sum(character.isalpha() or character == " " for character in english) > 0.9 * len(english)
    assert english.count(" the ") > 300
    tables = text_of(loaded, "tables")
    assert sum(character.isdigit() for character in tables) > 0.2 * len(tables)
    assert len(re.findall(r"<[/\w]|`|^\.\. |^#+ ", text_of(loaded, "markup"), re.MULTILINE)) > 1000


def test_every_domain_holds_a_megabyte():
    for source in builtin_sources():
        sizes = [file.path.stat().st_size for file in source.files]
        assert sum(sizes) > 1_000_000
        assert len({file.relative for file in source.files}) == len(sizes)


def test_nothing_outside_the_required_packages_is_read():
    roots = {file.relative.split("/")[0] for source in builtin_sources() for file in source.files}
    assert roots <= {
        *("python", "torch", "torchgen", "numpy", "matplotlib", "networkx", "sympy", "numba", "tensorboard"),
        *("fsspec", "pyparsing", "tyro", "fontTools", "mpmath", "PIL", "jinja2", "werkzeug", "markdown"),
        *("literals", "readme", "licences", "manuals", "reference"),
    }


def test_prose_is_not_taken_from_files_that_another_domain_holds_whole():
    paths = {source.name: {file.path for file in source.files} for source in builtin_sources()}
    for name in ("python", "cpp", "markup"):
        assert not paths["english"] & paths[name]


def test_the_tests_of_packages_are_left_out():
    paths = {file.relative for source in builtin_sources() for file in source.files if not file.kin}
    assert not any("/tests/" in path or "/test/" in path for path in paths)


def test_a_missing_installation_shows_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(builtin, "_package", lambda name: tmp_path / name)
    with pytest.raises(UserError, match=r"built-in domain cpp(.|\n)*--data PATH"):
        builtin_sources()


@pytest.mark.parametrize("name", ["tables", "markup"])
def test_what_is_held_out_has_its_like_in_the_training_text(name, cache):
    """At the tiny preset: held-out text of a kind that is never trained on would measure nothing."""
    source = builtin_sources()[NAMES.index(name)]
    files = cached_corpus(source, PRESETS["tiny"]().data, cache, EventLog()).record["files"]
    heldout, train = (
        {file["path"].split("/")[0] for file in files if file["split"] == split} for split in ("heldout", "train")
    )
    assert len(heldout) >= 2
    assert heldout <= train


def test_fonts_of_a_typeface_are_learned_or_held_out_together(loaded):
    tables = loaded[1][NAMES.index("tables")].record["files"]
    kin = {file.relative: file.kin for source in builtin_sources() for file in source.files}
    typefaces = {
        split: {kin[file["path"]] for file in tables if file["split"] == split} - {""} for split in ("train", "heldout")
    }
    assert len(typefaces["train"]) > 3
    assert not typefaces["train"] & typefaces["heldout"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PRESETS])
def test_next_to_nothing_of_the_held_out_text_stands_in_training_text(name, cache):
    """At each preset, with the whole text of the domains at base."""
    _, domains = load_domains(replace(PRESETS[name]().data, tokenizer="bytes"), cache, EventLog())
    assert [domain.name for domain in domains] == NAMES
    for domain in domains:
        assert domain.overlap_ratio <= 0.02, domain.name
        assert domain.near_duplicate_ratio <= 0.02, domain.name
