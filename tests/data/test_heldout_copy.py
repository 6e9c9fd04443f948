"""A copy of held-out text is whole, or it is no copy."""

import pytest

from mambrane.core.events import EventLog
from mambrane.data.heldout_copy import hash_of_documents, read_copy, remove_copies, token_file_of_copy, write_copy
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import cached_token_file

DOCUMENTS = [b"first\nsecond\n", b"", "\u00fcml\u00e4ut \0 and [3]\n".encode(), b"\n\n"]
HASH = hash_of_documents(DOCUMENTS)


@pytest.mark.parametrize("documents", [DOCUMENTS, [b""], [], [b"[1, 2]\n"]])
def test_documents_and_their_borders_come_back(tmp_path, documents):
    split_hash = hash_of_documents(documents)
    write_copy(tmp_path / "new" / "folder", split_hash, iter(documents))
    assert read_copy(tmp_path / "new" / "folder", split_hash) == documents


def test_a_moved_border_is_another_split():
    assert hash_of_documents([b"ab", b"c"]) != hash_of_documents([b"a", b"bc"])


@pytest.mark.parametrize(
    "damage", [b"", b"[", b"[5]\nlong", b"{}\n", b"null\n", b"[-1, 14]\nfirst\nsecond\n", b"[[1]]\nx"]
)
def test_a_damaged_copy_is_none_and_is_written_again(tmp_path, damage):
    write_copy(tmp_path, HASH, DOCUMENTS)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for content in (damage, whole[:-1], whole + b"x", whole.replace(b"first", b"worst")):
        file.write_bytes(content)
        assert read_copy(tmp_path, HASH) is None
    write_copy(tmp_path, HASH, DOCUMENTS)
    assert file.read_bytes() == whole


def test_the_tokens_of_a_copy_are_those_of_the_cache(tmp_path):
    write_copy(tmp_path, HASH, DOCUMENTS)
    kept = token_file_of_copy(tmp_path, HASH, BytesTokenizer())
    cached = cached_token_file(
        lambda: DOCUMENTS,
        what="text",
        texts_hash=HASH,
        tokenizer=BytesTokenizer(),
        cache_dir=tmp_path / "cache",
        events=EventLog(),
    )
    assert kept is not None
    assert kept.tokens.tolist() == cached.tokens[:].tolist()
    for count in ("num_bytes", "num_documents", "content_hash", "end_of_text"):
        assert getattr(kept, count) == getattr(cached, count)
    assert token_file_of_copy(tmp_path, HASH[::-1], BytesTokenizer()) is None


def test_copies_are_removed_but_those_that_are_named(tmp_path):
    other = hash_of_documents([b"other"])
    write_copy(tmp_path, HASH, DOCUMENTS)
    write_copy(tmp_path, other, [b"other"])
    remove_copies(tmp_path, but=[other])
    assert read_copy(tmp_path, HASH) is None
    assert read_copy(tmp_path, other) == [b"other"]
    remove_copies(tmp_path / "nowhere")


def test_a_hash_that_names_a_file_elsewhere_names_no_copy(tmp_path):
    write_copy(tmp_path, HASH, DOCUMENTS)
    assert read_copy(tmp_path / "copies", f"../{HASH}") is None
