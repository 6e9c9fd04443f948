"""States behind beginnings: the same scores bit for bit, never those of another text, and never more than allowed."""

import threading

import pytest
import torch

import mambrane.measure.prefix_states as prefix_states
from mambrane.core.seeding import make_generator
from mambrane.measure.decoding import ModelDecoder
from mambrane.measure.prefix_states import PrefixStates, read_text
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from tests.models.modes import SMALL

END = 256
PIECE = 256


def model_of(**options):
    config = ModelConfig(**{**SMALL, "spiking_units": 16, "use_mamba": True, **options})
    return LanguageModel(config, END + 1, make_generator(0, "weights")).eval()


@pytest.fixture(scope="module")
def model():
    return model_of()


def text(seed, num_tokens):
    return [END, *torch.randint(END, (num_tokens - 1,), generator=make_generator(seed)).tolist()]


@pytest.mark.parametrize("options", [{}, {"liquid_backbone": "cfc"}, {"block_pattern": "mamba2"}, {"dtype": "double"}])
def test_a_text_whose_beginning_was_read_scores_bit_for_bit_as_one_read_whole(options):
    is_double = options.pop("dtype", "") == "double"
    model = model_of(**options).double() if is_double else model_of(**options)
    states, talk = PrefixStates(4), text(1, 3 * PIECE + 100)
    # A first turn, one that adds little, one that ends with a piece, one that goes on by whole pieces and a long rest.
    for num_tokens in (PIECE + 30, PIECE + 31, 2 * PIECE, 2 * PIECE + 1, 3 * PIECE + 100):
        kept = read_text(model, talk[:num_tokens], END, states)
        assert torch.equal(kept.scores(), read_text(model, talk[:num_tokens], END).scores()), num_tokens
    assert states.longest(talk)[0] == 3 * PIECE
    assert isinstance(kept, ModelDecoder) == is_double


def test_what_was_read_is_not_read_again(model, monkeypatch):
    read = []

    class Counting(ModelDecoder):
        def read(self, tokens):
            read.append(len(tokens))
            super().read(tokens)

    monkeypatch.setattr(prefix_states, "decoder_for", Counting)
    states, talk = PrefixStates(1), text(1, 2 * PIECE + 20)
    read_text(model, talk[:-5], END, states)
    read_text(model, talk, END, states)
    assert read == [2 * PIECE, 15, 20]


def test_a_text_that_begins_otherwise_is_read_by_itself(model):
    states, talk = PrefixStates(8), text(1, PIECE + 10)
    read_text(model, talk, END, states)
    for place in (0, 1, PIECE - 1):
        other = [*talk]
        other[place] = (other[place] + 1) % END
        assert states.longest(other) == (0, None)
        assert torch.equal(read_text(model, other, END, states).scores(), read_text(model, other, END).scores())
    assert states.longest(talk[: PIECE - 1]) == (0, None)


def test_two_texts_that_part_late_share_their_beginning_and_nothing_else(model):
    states = PrefixStates(8)
    both = text(1, PIECE + 1)
    one, other = both + text(2, PIECE + 40), both + text(3, PIECE + 40)
    for talk in (one, other, one, other):
        assert torch.equal(read_text(model, talk, END, states).scores(), read_text(model, talk, END).scores())


def test_what_is_read_on_leaves_the_kept_state_alone(model):
    states, talk = PrefixStates(1), text(1, PIECE + 10)
    read_text(model, talk, END, states).read(text(2, 50))
    first = read_text(model, talk, END, states)
    first.read(text(2, 50))
    assert torch.equal(read_text(model, talk, END, states).scores(), read_text(model, talk, END).scores())


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_are_kept_than_allowed_and_the_one_unused_for_longest_goes(model, most):
    states, talks = PrefixStates(most), [text(seed, PIECE + 2) for seed in range(4)]
    for talk in talks:
        read_text(model, talk, END, states)
        read_text(model, talks[0], END, states)
    assert len(states) == most
    kept = [states.longest(talk)[0] == PIECE for talk in talks]
    assert kept == {0: [False] * 4, 1: [True, False, False, False], 3: [True, False, True, True]}[most]


def test_threads_may_share_it(model):
    states, talks = PrefixStates(2), [text(seed, PIECE + 2) for seed in range(4)]
    expected, wrong = [read_text(model, talk, END).scores() for talk in talks], []

    def read(number):
        for turn in range(4):
            which = (number + turn) % 4
            if not torch.equal(read_text(model, talks[which], END, states).scores(), expected[which]):
                wrong.append((number, turn))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, len(states)) == ([], 2)
