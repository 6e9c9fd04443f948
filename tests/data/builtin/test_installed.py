"""The domains that every installation holds."""

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.builtin import installed as builtin
from mambrane.data.builtin.installed import builtin_sources, read_numeric_rows, read_readme
from mambrane.data.config import DataConfig
from mambrane.data.domains import load_domains

NAMES = ["python", "cpp", "english", "tables", "markup"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = DataConfig(max_domain_bytes=60_000)
    return load_domains(config, tmp_path_factory.mktemp("cache"), EventLog())


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
        places = {"train": set(), "heldout": set()}
        for file in domain.record["files"]:
            places[file["split"]] |= {file["path"], file["content_hash"]}
        assert not places["train"] & places["heldout"]


def test_a_capped_domain_comes_from_many_files(loaded):
    for domain in loaded[1]:
        assert len(domain.record["files"]) >= 10


def test_each_domain_reads_like_its_name(loaded):
    assert text_of(loaded, "python").count("def ") > 50
    assert text_of(loaded, "cpp").count("#include") > 50
    english = text_of(loaded, "english")
    assert sum(character.isalpha() or character == " " for character in english) > 0.9 * len(english)
    assert english.count(" the ") > 300
    tables = text_of(loaded, "tables")
    assert sum(character.isdigit() for character in tables) > 0.2 * len(tables)
    assert text_of(loaded, "markup").count("<") > 300


def test_every_domain_holds_a_megabyte():
    for source in builtin_sources():
        sizes = [file.path.stat().st_size for file in source.files]
        assert sum(sizes) > 1_000_000
        assert len({file.relative for file in source.files}) == len(sizes)


def test_nothing_outside_the_required_packages_is_read():
    roots = {file.relative.split("/")[0] for source in builtin_sources() for file in source.files}
    assert roots <= {
        *("python", "torch", "torchgen", "numpy", "matplotlib", "networkx", "sympy", "numba", "tensorboard"),
        *("literals", "readme"),
    }


def test_the_tests_of_packages_are_left_out():
    paths = {file.relative for source in builtin_sources() for file in source.files}
    assert not any("/tests/" in path or "/test/" in path for path in paths)


def test_rows_of_numbers_are_taken_from_source(tmp_path):
    path = tmp_path / "table.py"
    path.write_text("data = [\n    [0.25, 1e-3],\n    # 1 comment\n    (-1, 2),\n]\nname = 3\n")
    assert list(read_numeric_rows(path, 0)) == [b"[0.25, 1e-3],\n(-1, 2),\n"]
    assert list(read_numeric_rows(path, 16)) == [b"[0.25, 1e-3],\n"]


def test_a_readme_is_what_follows_the_fields(tmp_path):
    path = tmp_path / "METADATA"
    path.write_text("Name: x\nVersion: 1\n\n# Title\n\nText.\n")
    assert list(read_readme(path, 0)) == [b"# Title\n\nText.\n"]


def test_a_missing_installation_shows_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(builtin, "_package", lambda name: tmp_path / name)
    with pytest.raises(UserError, match=r"built-in domain cpp(.|\n)*--data PATH"):
        builtin_sources()
