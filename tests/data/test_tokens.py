"""Token streams on disk."""

import json

import numpy as np
import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import cached_token_file, token_file_from
from tests.data.texts import kinds, recording_log, reseal

TOKENIZER = BytesTokenizer()
DOCUMENTS = [b"one", b"", "\u20ac".encode()]


class WideTokenizer(BytesTokenizer):
    """Bytes, numbered from 70,000 on."""

    vocab_size = 70_257
    end_of_text = 70_256

    def encode(self, text):
        return np.frombuffer(text, dtype=np.uint8).astype(np.uint32) + 70_000

    def decode(self, tokens):
        return super().decode(np.asarray(tokens, dtype=np.int64) - 70_000)

    def state_dict(self):
        return {"kind": "wide"}


def cached(cache_dir, documents=DOCUMENTS, tokenizer=TOKENIZER, texts_hash="hash", events=None):
    return cached_token_file(
        lambda: documents,
        what="a text",
        texts_hash=texts_hash,
        tokenizer=tokenizer,
        cache_dir=cache_dir,
        events=events or EventLog(),
    )


def test_each_document_stands_behind_end_of_text(tmp_path):
    expected = [256, *b"one", 256, 256, *"\u20ac".encode()]
    for stream in (cached(tmp_path), token_file_from(DOCUMENTS, TOKENIZER)):
        assert stream.tokens.tolist() == expected
        assert (stream.num_tokens, stream.num_bytes, stream.num_documents) == (9, 6, 3)
        assert stream.end_of_text == 256


def test_the_second_time_the_text_is_not_read(tmp_path):
    first = cached(tmp_path)
    second = cached(tmp_path, documents=[b"never read"])
    assert second.tokens.tolist() == first.tokens.tolist()
    assert second.content_hash == first.content_hash


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


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def out_of_range(path):
    path.write_bytes(b"\xff" * path.stat().st_size)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_list(path):
    path.write_text("[]")


@pytest.mark.parametrize("damage", [zeros, out_of_range, half, empty_list])
@pytest.mark.parametrize("name", ["tokens.bin", "record.json", "files.json"])
def test_a_damaged_file_is_made_again_and_said(tmp_path, name, damage):
    expected = cached(tmp_path)
    (path,) = tmp_path.rglob(name)
    damage(path)
    log, events = recording_log()
    again = cached(tmp_path, events=log)
    assert again.tokens.tolist() == expected.tokens.tolist()
    assert again.content_hash == expected.content_hash
    (event,) = kinds(events, "cache_damaged")
    assert event["message"].startswith("the cache of the tokens of a text is damaged and made again")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_tokens": -1},
        {"num_tokens": 8},
        {"num_bytes": "6"},
        {"num_documents": True},
        {"dtype": "<u4"},
        {"dtype": "O"},
        {"end_of_text": 9},
        {"num_bytes": None},
    ],
)
def test_a_record_that_does_not_fit_its_file_is_damage_even_if_its_hash_is_right(tmp_path, changes):
    expected = cached(tmp_path).tokens.tolist()
    (path,) = tmp_path.rglob("record.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    reseal(path.parent)
    log, events = recording_log()
    assert cached(tmp_path, events=log).tokens.tolist() == expected
    assert len(kinds(events, "cache_damaged")) == 1


def test_a_token_outside_the_vocabulary_is_damage_even_if_its_hash_is_right(tmp_path):
    expected = cached(tmp_path).tokens.tolist()
    (path,) = tmp_path.rglob("tokens.bin")
    out_of_range(path)
    reseal(path.parent)
    log, events = recording_log()
    assert cached(tmp_path, events=log).tokens.tolist() == expected
    assert "of a vocabulary of 257" in kinds(events, "cache_damaged")[0]["message"]


class UpperCase(BytesTokenizer):
    """Loses the case of letters."""

    name = "upper"

    def encode(self, text):
        return super().encode(text.upper())

    def state_dict(self):
        return {"kind": "upper"}


def test_a_tokenizer_that_loses_text_is_refused_with_the_place(tmp_path):
    documents = [b"FINE", b"\n".join([b"FINE"] * 400) + b"\nthen Small\n"]
    for use in (cached, lambda _, documents, tokenizer: token_file_from(documents, tokenizer)):
        with pytest.raises(UserError, match=r"upper loses text: '.*\\nthen Small\\n' comes back as '.*\\nTHEN SMALL"):
            use(tmp_path, documents=documents, tokenizer=UpperCase())
    assert not list(tmp_path.rglob("tokens.bin"))
    assert cached(tmp_path, documents=documents[:1], tokenizer=UpperCase()).num_bytes == 4


def test_different_texts_in_memory_have_different_hashes():
    borders = [token_file_from(documents, TOKENIZER).content_hash for documents in ([b"ab"], [b"a", b"b"], [b"ba"])]
    assert len(set(borders)) == 3
