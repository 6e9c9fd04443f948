"""Files become documents; a file that is not what it should be is named, with the place."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.data import documents
from mambrane.data.documents import CutText, cut_at_line_end, encoded_parts, read_jsonl, read_text


def write(path, content):
    path.write_bytes(content)
    return path


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


@given(st.text("ab\n", min_size=41), st.integers(min_value=1, max_value=40))
def test_a_cut_keeps_at_least_half_of_the_limit_and_ends_at_a_line_end_where_one_lies_there(text, limit):
    piece = cut_at_line_end(text.encode(), limit).decode()
    assert len(piece) >= limit / 2
    assert piece.endswith("\n") or (len(piece) == limit and "\n" not in piece[limit // 2 :])


def test_a_limit_cuts_a_long_line_behind_a_title(tmp_path):
    path = write(tmp_path / "a.txt", b"A title\n" + b"word " * 10_000)
    assert [len(document) for document in read_text(path, 20_000)] == [20_000]


def test_a_limit_that_whole_documents_have_nearly_reached_cuts_the_last_one_at_a_line_end(tmp_path):
    texts = ["w" * 70, "one\n" + "v" * 50]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": text}) for text in texts).encode())
    assert [len(document) for document in read_jsonl(path, 100)] == [70, 4]
    texts[0] = "w" * 40
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": text}) for text in texts).encode())
    assert [len(document) for document in read_jsonl(path, 90)] == [40, 50]


def test_the_parts_in_which_a_text_is_encoded_end_at_its_line_ends_however_long_a_line_is(monkeypatch):
    """A short part does no harm, and a text whose tokens are known keeps them."""
    monkeypatch.setattr(documents, "ENCODED_BYTES", 20)
    text = b"A title\n" + b"w" * 50 + b"\nend"
    assert list(encoded_parts(text)) == [b"A title\n", b"w" * 20, b"w" * 20, b"w" * 10 + b"\nend"]


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


def test_a_surrogate_pair_is_a_character_and_a_nested_field_of_the_same_name_is_another(tmp_path):
    content = b'{"text": "\\ud83d\\ude00"}\n{"text": "a", "more": {"text": "b"}}\n'
    assert list(read_jsonl(write(tmp_path / "a.jsonl", content), 0)) == ["\U0001f600".encode(), b"a"]


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
        (b'{"text": "a \\ud800 b"}\n', r"line 1: half a character, \\ud800 without"),
        (b'{"text": "a"}\n{"text": "\\udc00"}\n', r"line 2: half a character, \\udc00"),
        (b'{"text": "a", "text": "b"}\n', "line 1: not JSON .two fields named `text`"),
        (b'{"text": null}\n', r"line 1: no field `text`.*text .NoneType"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        list(read_jsonl(write(tmp_path / "a.jsonl", content), 0))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_another_encoding_is_named(tmp_path, encoding, name):
    text = "\n".join(json.dumps({"text": f"line {number} of caf\u00e9"}, ensure_ascii=False) for number in range(20))
    path = write(tmp_path / name, text.encode(encoding))
    read = read_text if name == "a.txt" else read_jsonl
    said = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(UserError, match=f"not UTF-8 text(.|\n)*looks like {said}(.|\n)*iconv -f {said}"):
        list(read(path, 0))


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_text_in_utf32_that_passes_for_utf8_is_recognized(tmp_path, encoding):
    path = write(tmp_path / "a.txt", "plain ascii text\n".encode(encoding))
    said = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(UserError, match=rf"NUL bytes in it: 51.*it looks like {said}(.|\n)*iconv -f {said}"):
        list(read_text(path, 0))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"text" * 99, mtime=0), "a gz file"),
        (bytes(range(256)) * 4, "no text at all"),
        (b"PK\x03\x04" + b"\xff" * 9, "a zip file"),
    ],
    ids=["gz", "bytes", "zip"],
)
def test_nobody_is_told_to_convert_what_is_no_text(tmp_path, content, kind):
    with pytest.raises(UserError, match=f"it looks like {kind}(.|\n)*leave the file out") as error:
        list(read_text(write(tmp_path / "a.txt", content), 0))
    assert "iconv" not in str(error.value)


def test_an_empty_file_is_no_gz_file(tmp_path):
    with pytest.raises(EOFError, match="no gz file"):
        list(read_text(write(tmp_path / "a.txt.gz", b""), 0))


def test_text_in_utf16_that_passes_for_utf8_is_recognized(tmp_path):
    path = write(tmp_path / "a.txt", "plain ascii text\n".encode("utf-16-le"))
    with pytest.raises(
        UserError, match=r"not text, NUL bytes in it: 17, the first is byte 1; it looks like UTF-16LE(.|\n)*iconv"
    ):
        list(read_text(path, 0))


def test_binary_is_not_read_as_text(tmp_path):
    path = write(tmp_path / "a.txt", b"text and \0 more")
    with pytest.raises(UserError, match=r"not text, NUL bytes in it: 1, the first is byte 9(.|\n)*tr -d"):
        list(read_text(path, 0))


def test_a_byte_order_mark_does_not_hide_that_a_file_is_cut(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbf" + b"12345678\n" * 2)
    (document,) = read_text(path, 16)
    assert document == b"12345678\n"
    assert isinstance(document, CutText)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[" * 200_000, r"not JSON \(nested too deep"),
        (b'{"text": ' * 200_000, r"not JSON \(nested too deep"),
        (b'{"text": "a", "id": ' + b"9" * 10_000 + b"}", "not JSON .*4300 digits"),
        (b'{"text": NaN}', "no field `text`"),
        (b"NaN", "no field `text`.*float"),
        (b"null", "no field `text`.*NoneType"),
        (b'{"text": ["a"]}', "no field `text`"),
        (b'{"text": null}', "no field `text`"),
        (b'{"Text": "a"}', "no field `text`.*Text"),
        (b'"text"', "no field `text`.*str"),
        (b'{"text": "a"} {"text": "b"}', "not JSON"),
        (b'{"text": "a\tb"}', "not JSON"),
        (b"\0\0\0\0", "not JSON"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(UserError, match=rf"a\.jsonl, line 2: {message}"):
        list(read_jsonl(path, 0))


def test_a_mark_before_the_first_line_of_json_is_passed_over(tmp_path):
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n')
    assert list(read_jsonl(path, 0)) == [b"a"]


@pytest.mark.parametrize(("name", "read"), [("a.txt.gz", read_text), ("a.jsonl.gz", read_jsonl)])
def test_a_file_that_unpacks_without_end_is_refused_before_memory_is_full(tmp_path, monkeypatch, name, read):
    monkeypatch.setattr(documents, "MIN_BOMB_BYTES", 1 << 20)
    path = write(tmp_path / name, gzip.compress(b"a" * (3 << 20)))
    with pytest.raises(UserError, match=rf"{name}: unpacks to more than 1,048,576 bytes(.|\n)*gunzip"):
        list(read(path, 0))


def test_well_compressed_text_is_no_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MIN_BOMB_BYTES", 0)
    text = b"".join(f"line {number}\n".encode() for number in range(50_000))
    assert list(read_text(write(tmp_path / "a.txt.gz", gzip.compress(text)), 0)) == [text]
