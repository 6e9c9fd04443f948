"""Byte-level BPE trained on the data, and tokenizers from elsewhere."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.models import BPE, WordPiece
from tokenizers.pre_tokenizers import Whitespace

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.subword import SubwordTokenizer
from mambrane.data.tokenizer import StreamingDecoder, build_tokenizer, load_tokenizer, tokenizer_hash

TEXTS = [b"the spike and the spike and the membrane\n" * 20, "caf\u00e9, \u20ac 5 und \U0001f9e0\n".encode() * 20]


def train(cache_dir, spec="bpe:280", texts=TEXTS):
    return build_tokenizer(spec, lambda: iter(texts), texts_hash="texts", cache_dir=cache_dir, events=EventLog())


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    return train(tmp_path_factory.mktemp("cache"))


def test_frequent_words_become_one_token(bpe):
    assert len(bpe.encode(b" spike")) == 1
    assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0]) / 3


def test_the_size_counts_end_of_text_and_every_token_lies_below_it(bpe):
    assert bpe.vocab_size == 280
    assert bpe.end_of_text == 279
    assert max(bpe.encode(b"".join(TEXTS))) < 279


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_come_back_exactly(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text


@pytest.mark.parametrize("text", [b"\x80" * 3000, "\u20ac".encode()[:2] * 1500, b"", b"\n" * 500])
def test_long_runs_of_odd_bytes_come_back_exactly(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text


def test_a_document_longer_than_one_part_comes_back_exactly(bpe):
    text = b"".join(TEXTS) * 1500
    assert len(text) > 1 << 20
    assert bpe.decode(bpe.encode(text)) == text


@given(st.text(max_size=60))
def test_the_streaming_decoder_gives_the_whole_text_in_whole_characters(bpe, text):
    decoder = StreamingDecoder(bpe)
    pieces = [decoder.push(token) for token in bpe.encode(text.encode()).tolist()]
    assert "".join(pieces) + decoder.finish() == text


def test_text_cannot_spell_end_of_text(bpe):
    for spelled in (b"<|endoftext|>", b"</s>", b"[SEP]"):
        assert bpe.end_of_text not in bpe.encode(spelled)
    assert bpe.decode([bpe.end_of_text]) == b""


def test_a_tokenizer_survives_json(bpe):
    loaded = load_tokenizer(json.loads(json.dumps(bpe.state_dict())))
    assert loaded.encode(TEXTS[1]).tolist() == bpe.encode(TEXTS[1]).tolist()
    assert tokenizer_hash(loaded) == tokenizer_hash(bpe)


def test_the_second_time_no_text_is_read(tmp_path):
    first = train(tmp_path)

    def no_texts():
        raise AssertionError("the texts were read again")

    second = build_tokenizer("bpe:280", no_texts, texts_hash="texts", cache_dir=tmp_path, events=EventLog())
    assert tokenizer_hash(first) == tokenizer_hash(second)


def test_little_text_gives_a_smaller_vocabulary(tmp_path):
    tokenizer = train(tmp_path, "bpe:5000", [b"ab ab"])
    assert 257 <= tokenizer.vocab_size < 265
    assert tokenizer.end_of_text == tokenizer.vocab_size - 1


TRAIN_ELSEWHERE = """
import sys
from pathlib import Path
from mambrane.core.events import EventLog
from mambrane.data.tokenizer import build_tokenizer, tokenizer_hash
texts = [f"word{i % 37} and word{i % 11}, then {i}\\n".encode() for i in range(3000)]
cache_dir = Path(sys.argv[1])
tokenizer = build_tokenizer("bpe:700", lambda: iter(texts), texts_hash="", cache_dir=cache_dir, events=EventLog())
print(tokenizer_hash(tokenizer))
"""


def test_training_in_two_processes_gives_the_same_tokenizer(tmp_path):
    hashes = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", TRAIN_ELSEWHERE, str(tmp_path / seed)]
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
        hashes.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert len(hashes) == 1


def test_a_tokenizer_file_keeps_its_own_end_of_text(tmp_path, bpe):
    definition = tokenizers.Tokenizer.from_str(bpe.state_dict()["tokenizer"])
    definition.add_special_tokens(["<|endoftext|>"])
    definition.enable_truncation(4)
    definition.save(str(tmp_path / "tokenizer.json"))
    loaded = build_tokenizer(
        str(tmp_path / "tokenizer.json"), lambda: iter(()), texts_hash="", cache_dir=tmp_path, events=EventLog()
    )
    assert loaded.end_of_text == definition.token_to_id("<|endoftext|>")
    assert loaded.vocab_size == 280
    assert loaded.decode(loaded.encode(TEXTS[0])) == TEXTS[0]
    assert loaded.end_of_text not in loaded.encode(b"a <|endoftext|> b")


def word_pieces():
    pieces = {"[UNK]": 0, "spike": 1, "##s": 2, "and": 3, "trains": 4, "<0xE2>": 5, "<0x82>": 6, "<0xAC>": 7}
    tokenizer = tokenizers.Tokenizer(WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return SubwordTokenizer("words", tokenizer.to_str(), end_of_text=8)


def test_pieces_that_are_not_bytes_stream_with_their_spaces():
    tokenizer = word_pieces()
    decoder = StreamingDecoder(tokenizer)
    tokens = tokenizer.encode(b"spikes and trains").tolist()
    assert [decoder.push(token) for token in tokens] == ["spike", "s", " and", " trains"]


def test_byte_pieces_stream_as_one_character():
    decoder = StreamingDecoder(word_pieces())
    assert [decoder.push(token) for token in (5, 6, 7)] == ["", "", "\u20ac"]


def test_bytes_that_no_piece_stands_for_are_a_clear_error():
    with pytest.raises(UserError, match="0xff"):
        word_pieces().encode(b"spike \xff")


def test_a_missing_or_broken_tokenizer_file_is_a_clear_error(tmp_path):
    (tmp_path / "broken.json").write_text("{}")
    for name in ("missing.json", "broken.json"):
        with pytest.raises(UserError, match=rf"{name}: cannot be loaded(.|\n)*--tokenizer bytes"):
            build_tokenizer(
                str(tmp_path / name), lambda: iter(()), texts_hash="", cache_dir=tmp_path, events=EventLog()
            )


def loaded_from(path, definition):
    path.write_text(definition)
    return build_tokenizer(str(path), lambda: iter(()), texts_hash="", cache_dir=path.parent, events=EventLog())


@pytest.mark.parametrize("highest", [None, 4_000_000_000])
def test_a_vocabulary_that_no_model_has_rows_for_is_refused(tmp_path, highest):
    definition = json.loads(tokenizers.Tokenizer(BPE(vocab={}, merges=[])).to_str())
    # Not made by the library, which would count to the highest number when it writes it.
    definition["model"]["vocab"] = {} if highest is None else {"a": 0, "b": highest}
    with pytest.raises(UserError, match="a vocabulary of 1 to 1,000,000 tokens"):
        loaded_from(tmp_path / "tokenizer.json", json.dumps(definition))


def test_a_tokenizer_that_draws_its_tokens_at_random_is_loaded_without_that(tmp_path):
    model = BPE(vocab={"a": 0, "b": 1, "ab": 2, "abab": 3}, merges=[("a", "b"), ("ab", "ab")], dropout=0.5)
    tokenizer = loaded_from(tmp_path / "tokenizer.json", tokenizers.Tokenizer(model).to_str())
    assert {tuple(tokenizer.encode(b"abab").tolist()) for _ in range(20)} == {(3,)}


def test_a_pipe_in_the_place_of_a_tokenizer_is_a_clear_error(tmp_path):
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match="cannot be loaded"):
        build_tokenizer(
            str(tmp_path / "tokenizer.json"), lambda: iter(()), texts_hash="", cache_dir=tmp_path, events=EventLog()
        )


def test_tokens_are_wide_enough_for_large_vocabularies(bpe):
    assert bpe.encode(b"spike").dtype == np.uint32
