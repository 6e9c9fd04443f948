"""Rows of Parquet."""

import sys

import pyarrow
import pytest
from pyarrow import parquet

from mambrane.core.errors import UserError
from mambrane.data.parquet import read_parquet


def write(path, content):
    path.write_bytes(content)
    return path


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


def text_column(*texts):
    """Return a column of strings whose bytes nobody checked."""
    binary = pyarrow.array(texts, pyarrow.binary())
    return pyarrow.Array.from_buffers(pyarrow.string(), len(binary), binary.buffers())


def test_bytes_that_are_no_text_are_named_with_their_rows(tmp_path):
    column = text_column(*[b"fine"] * 1500, b"caf\xe9 noir")
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet, rows 1,024 to 1,500: a text that is not UTF-8 .*0xe9"):
        list(read_parquet(tmp_path / "a.parquet", 0))


def test_two_columns_of_text_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="2 columns named `text`"):
        list(read_parquet(tmp_path / "a.parquet", 0))


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([["a"], ["b"]]),
        pyarrow.array([{"text": "a"}, {"text": "b"}]),
        pyarrow.array([b"a", b"b"]),
        pyarrow.array([1.5, 2.5]),
        pyarrow.array([None, None]),
    ],
    ids=lambda column: str(column.type),
)
def test_a_text_column_of_another_type_shows_its_type(tmp_path, column):
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no field `text` with text in it; found: text \("):
        list(read_parquet(tmp_path / "a.parquet", 0))


def test_a_file_without_rows_gives_nothing(tmp_path):
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "a.parquet")
    assert list(read_parquet(tmp_path / "a.parquet", 0)) == []


@pytest.mark.parametrize("cut", [0, 4, 100, -9])
def test_a_file_that_was_cut_is_a_clear_error(tmp_path, cut):
    parquet.write_table(pyarrow.table({"text": ["some text"] * 100}), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()[:cut]
    with pytest.raises(UserError, match="not a whole parquet file"):
        list(read_parquet(write(tmp_path / "a.parquet", content), 0))


def test_without_pyarrow_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        UserError, match=r"the package pyarrow is not installed(.|\n)*pip install 'mambrane\[parquet\]'"
    ):
        list(read_parquet(tmp_path / "a.parquet", 0))
