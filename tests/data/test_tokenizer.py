"""The byte tokenizer and the streaming decoder."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.tokenizer import (
    BytesTokenizer,
    StreamingDecoder,
    build_tokenizer,
    load_tokenizer,
    packed,
    tokenizer_hash,
)

TOKENIZER = BytesTokenizer()


@given(st.binary())
def test_any_bytes_come_back_exactly(text):
    tokens = TOKENIZER.encode(text)
    assert len(tokens) == len(text)
    assert TOKENIZER.decode(tokens) == text
    assert TOKENIZER.decode(tokens.tolist()) == text


def test_end_of_text_starts_a_document_and_has_no_bytes():
    (document,) = packed([b"ab"], TOKENIZER)
    assert document.tolist() == [256, 97, 98]
    assert TOKENIZER.decode(document) == b"ab"


@given(st.text())
def test_the_streaming_decoder_gives_the_whole_text_in_whole_characters(text):
    decoder = StreamingDecoder(TOKENIZER)
    pieces = [decoder.push(token) for token in TOKENIZER.encode(text.encode()).tolist()]
    assert "".join(pieces) + decoder.finish() == text
    assert all(text.count(character) for piece in pieces for character in piece)


@given(st.binary())
def test_the_streaming_decoder_replaces_what_is_not_text_as_python_does(content):
    decoder = StreamingDecoder(TOKENIZER)
    text = "".join(decoder.push(token) for token in content) + decoder.finish()
    assert text == content.decode("utf-8", errors="replace")


def test_an_unfinished_character_waits_for_its_last_byte():
    decoder = StreamingDecoder(TOKENIZER)
    assert [decoder.push(byte) for byte in "\u20ac!".encode()] == ["", "", "\u20ac", "!"]
    decoder.push(0xE2)
    assert decoder.finish() == "\ufffd"


def test_a_tokenizer_survives_json(tmp_path):
    state = json.loads(json.dumps(TOKENIZER.state_dict()))
    assert isinstance(load_tokenizer(state), BytesTokenizer)
    assert tokenizer_hash(load_tokenizer(state)) == tokenizer_hash(TOKENIZER)


def test_a_saved_tokenizer_of_unknown_kind_is_a_clear_error():
    with pytest.raises(UserError, match="morse"):
        load_tokenizer({"kind": "morse"})


def test_bytes_need_no_text(tmp_path):
    def no_texts():
        raise AssertionError("the texts were read")

    tokenizer = build_tokenizer("bytes", no_texts, texts_hash="", cache_dir=tmp_path, events=EventLog())
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.end_of_text) == ("bytes", 257, 256)
    assert tokenizer.encode(b"\xff").dtype == np.uint16
