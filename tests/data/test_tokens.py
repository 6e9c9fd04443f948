"""Token streams on disk."""

import numpy as np
import pytest

from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import cached_token_file, token_file_from

TOKENIZER = BytesTokenizer()
DOCUMENTS = [b"one", b"", "\u20ac".encode()]


class WideTokenizer(BytesTokenizer):
    """Bytes, numbered from 70,000 on."""

    vocab_size = 70_257
    end_of_text = 70_256

    def encode(self, text):
        return np.frombuffer(text, dtype=np.uint8).astype(np.uint32) + 70_000

    def state_dict(self):
        return {"kind": "wide"}


def cached(cache_dir, documents=DOCUMENTS, tokenizer=TOKENIZER, texts_hash="hash"):
    return cached_token_file(lambda: documents, texts_hash=texts_hash, tokenizer=tokenizer, cache_dir=cache_dir)


def refuse():
    raise AssertionError("the text was read again")


def test_each_document_stands_behind_end_of_text(tmp_path):
    expected = [256, *b"one", 256, 256, *"\u20ac".encode()]
    for stream in (cached(tmp_path), token_file_from(DOCUMENTS, TOKENIZER)):
        assert stream.tokens.tolist() == expected
        assert (stream.num_tokens, stream.num_bytes, stream.num_documents) == (9, 6, 3)
        assert stream.end_of_text == 256


def test_the_second_time_the_text_is_not_read(tmp_path):
    first = cached(tmp_path)
    second = cached_token_file(refuse, texts_hash="hash", tokenizer=TOKENIZER, cache_dir=tmp_path)
    assert second.tokens.tolist() == first.tokens.tolist()
    assert second.content_hash == first.content_hash
    assert isinstance(second.tokens, np.memmap)


def test_other_text_or_another_tokenizer_is_another_file(tmp_path):
    hashes = {cached(tmp_path).content_hash, cached(tmp_path, texts_hash="other").content_hash}
    hashes.add(cached(tmp_path, tokenizer=WideTokenizer()).content_hash)
    assert len(hashes) == 3
    assert len(list((tmp_path / "tokens").iterdir())) == 3


def test_tokens_are_as_narrow_as_the_vocabulary_allows(tmp_path):
    assert cached(tmp_path).tokens.dtype == np.uint16
    wide = cached(tmp_path, tokenizer=WideTokenizer())
    assert wide.tokens.dtype == np.uint32
    assert wide.tokens[:2].tolist() == [70_256, 70_000 + ord("o")]


@pytest.mark.parametrize("name", ["tokens.bin", "record.json"])
def test_a_file_of_the_wrong_size_is_built_again(tmp_path, name):
    expected = cached(tmp_path).tokens.tolist()
    (path,) = tmp_path.rglob(name)
    path.write_bytes(path.read_bytes()[:-2])
    assert cached(tmp_path).tokens.tolist() == expected


def test_different_texts_in_memory_have_different_hashes():
    borders = [token_file_from(documents, TOKENIZER).content_hash for documents in ([b"ab"], [b"a", b"b"], [b"ba"])]
    assert len(set(borders)) == 3
