"""A file has the reader of its suffix."""

import pytest

from mambrane.data.documents import read_jsonl, read_text
from mambrane.data.file_kinds import reader_for


@pytest.mark.parametrize("name", ["a.txt", "a.MD", "a.py", "a.txt.gz", "b.c.h", "a.tar.txt"])
def test_plain_text_is_known_by_its_suffix(tmp_path, name):
    assert reader_for(tmp_path / name) is read_text


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson"])
def test_json_lines_are_known_by_their_suffix(tmp_path, name):
    assert reader_for(tmp_path / name) is read_jsonl


@pytest.mark.parametrize("name", ["a.png", "a", "a.gz", "a.png.gz", "a.parquet.gz", "txt"])
def test_other_suffixes_have_no_reader(tmp_path, name):
    assert reader_for(tmp_path / name) is None
