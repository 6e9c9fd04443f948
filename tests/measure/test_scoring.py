"""What each line of a text cost, as soon as it has ended."""

import math

import pytest
import torch

from mambrane.data.tokenizer import BytesTokenizer
from mambrane.measure.scoring import SHOWN_CHARACTERS, score_lines


class TwoBitsAToken:
    """A decoder to which every token costs two bits; it writes down what it has read."""

    def __init__(self):
        self.tokens = []

    def read(self, tokens):
        self.tokens += tokens
        return torch.zeros(257)

    def nats(self, tokens):
        self.tokens += tokens
        return [2 * math.log(2)] * len(tokens)

    def scores(self):
        return torch.zeros(257)

    def draw(self, sampling, generator, num_tokens):
        raise NotImplementedError

    def state(self):
        raise NotImplementedError

    def copy(self):
        raise NotImplementedError


def scores(*pieces):
    decoder = TwoBitsAToken()
    return list(score_lines(decoder, BytesTokenizer(), pieces)), decoder


def test_a_line_costs_its_tokens_its_end_included():
    (first, second), decoder = scores(b"abc\n", b"\n")
    assert (first.line, first.num_bytes, first.text) == (1, 4, "abc")
    assert first.bits == pytest.approx(8.0)
    assert first.bits_per_byte == pytest.approx(2.0)
    assert (second.line, second.num_bytes, second.text) == (2, 1, "")
    assert decoder.tokens == [BytesTokenizer().end_of_text, *b"abc\n\n"]


def test_a_long_line_in_pieces_is_one_line_and_shows_its_beginning():
    (line,), _ = scores(b"a" * 1000, b"b" * 1000, b"c\n")
    assert line.num_bytes == 2002
    assert line.bits == pytest.approx(2 * 2002)
    assert line.text == "a" * SHOWN_CHARACTERS


def test_a_last_line_without_its_end_is_a_line_and_nothing_is_none():
    assert [line.text for line in scores(b"a\n", b"b")[0]] == ["a", "b"]
    assert scores()[0] == []
