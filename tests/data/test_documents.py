"""Files become documents; a file that is not what it should be is named, with the place."""

import gzip
import json

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from mambrane.core.errors import UserError
from mambrane.data.documents import cut_at_line_end, read_jsonl, read_parquet, read_text, reader_for


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.MD", "a.py", "a.txt.gz", "b.c.h", "a.tar.txt"])
def test_plain_text_is_known_by_its_suffix(tmp_path, name):
    assert reader_for(tmp_path / name) is read_text


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson"])
def test_json_lines_are_known_by_their_suffix(tmp_path, name):
    assert reader_for(tmp_path / name) is read_jsonl


@pytest.mark.parametrize("name", ["a.png", "a", "a.gz", "a.png.gz", "a.parquet.gz", "txt"])
def test_other_suffixes_have_no_reader(tmp_path, name):
    assert reader_for(tmp_path / name) is None


def test_a_text_file_is_one_document_without_its_byte_order_mark(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo")
    assert list(read_text(path, 0)) == [b"one\r\ntwo"]


def test_a_compressed_file_is_read_like_the_plain_one(tmp_path):
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"one\ntwo\n"))
    assert list(read_text(path, 0)) == [b"one\ntwo\n"]


def test_a_limit_cuts_a_file_at_a_line_end(tmp_path):
    path = write(tmp_path / "a.txt", b"one\ntwo\nthree\n")
    assert list(read_text(path, 10)) == [b"one\ntwo\n"]


def test_a_file_that_is_not_utf8_is_named_with_the_byte(tmp_path):
    path = write(tmp_path / "latin.txt", "caf\u00e9 noir".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: not UTF-8 text, byte 3 is 0xe9(.|\n)*iconv"):
        list(read_text(path, 0))


def test_a_limit_never_makes_good_text_look_wrongly_encoded(tmp_path):
    path = write(tmp_path / "a.txt", "\u20ac".encode() * 10)
    assert list(read_text(path, 10)) == ["\u20ac".encode() * 3]


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_a_cut_keeps_whole_characters_and_stays_within_the_limit(text, limit):
    piece = cut_at_line_end(text.encode(), limit)
    assert len(piece) <= limit
    assert text.startswith(piece.decode())


@given(st.binary(min_size=9), st.integers(min_value=4, max_value=8))
def test_a_cut_of_any_bytes_is_never_empty(content, limit):
    piece = cut_at_line_end(content, limit)
    assert piece
    assert content.startswith(piece)


def test_each_line_of_json_is_a_document(tmp_path):
    texts = ["one\ntwo", "caf\u00e9", ""]
    content = "\n\n".join(json.dumps({"text": text, "id": 1}) for text in texts)
    path = write(tmp_path / "a.jsonl", content.encode())
    assert list(read_jsonl(path, 0)) == [text.encode() for text in texts]


def test_a_limit_counts_over_the_documents_of_a_file(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"text": "12345"}\n{"text": "67\\n890"}\n{"text": "x"}\n')
    assert list(read_jsonl(path, 9)) == [b"12345", b"67\n"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": \n', "line 2: not JSON"),
        (b'{"body": "a"}\n', "line 1: no field `text`.*body"),
        (b'{"text": 3}\n', "line 1: no field `text`"),
        (b"[1]\n", "line 1: no field `text`.*list"),
        (b'{"text": "\xe9"}\n', "line 1: not UTF-8"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        list(read_jsonl(write(tmp_path / "a.jsonl", content), 0))


@pytest.mark.parametrize(
    "kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())]
)
def test_each_row_of_parquet_is_a_document(tmp_path, kind):
    column = pyarrow.array(["one", None, "caf\u00e9", "one"]).cast(kind)
    parquet.write_table(pyarrow.table({"id": [1, 2, 3, 4], "text": column}), tmp_path / "a.parquet")
    assert list(read_parquet(tmp_path / "a.parquet", 0)) == [b"one", "caf\u00e9".encode(), b"one"]
    assert list(read_parquet(tmp_path / "a.parquet", 4)) == [b"one", b"c"]


def test_a_parquet_file_without_a_text_column_shows_its_columns(tmp_path):
    parquet.write_table(pyarrow.table({"content": ["a"], "text": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"content \(string\), text \(int64\)"):
        list(read_parquet(tmp_path / "a.parquet", 0))


def test_a_broken_parquet_file_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="not a whole parquet file"):
        list(read_parquet(write(tmp_path / "a.parquet", b"PAR1 nothing PAR1"), 0))
