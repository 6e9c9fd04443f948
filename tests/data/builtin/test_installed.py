"""The domains that every installation holds."""

import re
from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.builtin import installed as builtin
from mambrane.data.builtin.installed import builtin_sources
from mambrane.data.builtin.readers import (
    in_blocks,
    read_font_metrics,
    read_header,
    read_numeric_rows,
    read_readme,
    read_restructured_text,
    typeface_of,
)
from mambrane.data.config import DataConfig
from mambrane.data.corpus import cached_corpus
from mambrane.data.documents import CutText, read_text
from mambrane.data.domains import load_domains
from mambrane.run.presets import PRESETS

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


def test_rows_of_numbers_are_taken_from_source(tmp_path):
    path = tmp_path / "table.py"
    path.write_text("data = [\n    [0.25, 1e-3],\n    # 1 comment\n    (-1, 2),\n]\nname = 3\n")
    assert list(read_numeric_rows(path, 0)) == [b"[0.25, 1e-3],\n(-1, 2),\n"]
    assert list(read_numeric_rows(path, 16)) == [b"[0.25, 1e-3],\n"]


def test_a_readme_is_what_follows_the_fields(tmp_path):
    path = tmp_path / "METADATA"
    path.write_text("Name: x\nVersion: 1\n\n# Title\n\nText.\n")
    assert list(read_readme(path, 0)) == [b"# Title\n\nText.\n"]


def test_restructured_text_is_taken_from_python_files_where_it_is_long_and_marked_up(tmp_path):
    path = tmp_path / "layer.py"
    page = "Applies a layer.\n\n.. note::\n    Slow.\n\nArgs:\n    x: ``int`` in :math:`[0, 1)`\n"
    plain, short = "One.\n" * 9, "A ``b`` of\n``c`` and ``d``."
    indented = page.replace("\n", "\n    ")
    path.write_text(f'def f():\n    r"""{indented}"""\n\nTEXTS = ["""{page}""", """{plain}""", """{short}"""]\n')
    assert list(read_restructured_text(path, 0)) == [page.encode()]
    assert list(read_restructured_text(path, 18)) == [b"Applies a layer.\n\n"]
    path.write_text(f'TEXT = """{plain}"""\n')
    assert list(read_restructured_text(path, 0)) == []


def test_a_missing_installation_shows_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(builtin, "_package", lambda name: tmp_path / name)
    with pytest.raises(UserError, match=r"built-in domain cpp(.|\n)*--data PATH"):
        builtin_sources()


def test_a_long_file_is_read_in_blocks_of_whole_lines(tmp_path):
    path = tmp_path / "table.csv"
    text = b"".join(b"row %02d\n" % number for number in range(100))
    path.write_bytes(text)
    blocks = list(in_blocks(read_text, 100)(path, 0))
    assert b"".join(blocks) == text
    assert all(block.endswith(b"\n") and 70 <= len(block) <= 150 for block in blocks)
    capped = list(in_blocks(read_text, 100)(path, 250))
    assert b"".join(capped) == text[:245]
    assert isinstance(capped[-1], CutText)


def test_a_header_is_read_without_licence_and_includes(tmp_path):
    path = tmp_path / "a.h"
    guard = "#if !defined(TORCH_STABLE_ONLY) && !defined(X)\n", '#else\n#error "not here"\n#endif  // X\n'
    head = "// Copyright 2020\n// All rights reserved.\n\n#pragma once\n#include <a.h>\n"
    code = "namespace a {\n// A store.\nstruct B {};\n}\n\n"
    path.write_text(guard[0] + head + code + guard[1])
    assert list(read_header(path, 0)) == [code.encode()]
    path.write_text(f"// @generated by a program\n{code}")
    assert list(read_header(path, 0)) == []


def test_a_comment_at_the_top_that_is_no_licence_stays(tmp_path):
    path = tmp_path / "a.h"
    path.write_text("/* Copyright. */\n// A leaky store.\nint a;\n")
    assert list(read_header(path, 0)) == [b"// A leaky store.\nint a;\n"]


def test_font_metrics_are_read_without_kerning_and_belong_to_a_typeface(tmp_path):
    path = tmp_path / "a.afm"
    path.write_text("FullName Helvetica Bold\nFamilyName Helvetica\nC 32 ; WX 250 ; N space ;\nKPX A y -40\nEnd\n")
    assert b"KPX" not in next(read_font_metrics(path, 0))
    assert next(read_font_metrics(path, 0)).endswith(b"N space ;\nEnd\n")
    assert typeface_of(path) == "Helvetica"


@pytest.mark.parametrize("name", ["tables", "markup"])
def test_what_is_held_out_has_its_like_in_the_training_text(name, tmp_path):
    """At the tiny preset: held-out text of a kind that is never trained on would measure nothing."""
    source = builtin_sources()[NAMES.index(name)]
    files = cached_corpus(source, PRESETS["tiny"]().data, tmp_path, EventLog()).record["files"]
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
def test_next_to_nothing_of_the_held_out_text_stands_in_training_text(name, tmp_path):
    """At each preset, with the whole text of the domains at base."""
    _, domains = load_domains(replace(PRESETS[name]().data, tokenizer="bytes"), tmp_path, EventLog())
    assert [domain.name for domain in domains] == NAMES
    for domain in domains:
        assert domain.overlap_ratio <= 0.02, domain.name
        assert domain.near_duplicate_ratio <= 0.02, domain.name
