"""Reading one text token by token: pieces, chunks and copies give what the whole gives."""

import math

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.measure.decoding import CHUNK_TOKENS, ModelDecoder, bits
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

END = 10


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(block_pattern="mamba", hidden_dim=8, num_layers=1, mamba_d_state=2)
    return LanguageModel(config, END + 1, make_generator(0, "weights"))


def test_pieces_and_chunks_give_the_scores_of_the_whole(model):
    tokens = torch.randint(END, (CHUNK_TOKENS + 5,), generator=make_generator(1)).tolist()
    pieces = ModelDecoder(model, END)
    for part in (tokens[:3], tokens[3:]):
        pieces.read(part)
    with torch.inference_mode():
        expected = model(torch.tensor([tokens])).logits_BTV[0, -1]
    torch.testing.assert_close(pieces.scores(), expected)
    whole = ModelDecoder(model, END)
    whole.read(tokens)
    torch.testing.assert_close(whole.scores(), expected)


def test_what_tokens_cost_is_minus_the_log_probability_given_those_before(model):
    decoder = ModelDecoder(model, END)
    decoder.read([END])
    costs = decoder.nats([3, 1])
    one = ModelDecoder(model, END)
    one.read([END])
    first = one.scores().log_softmax(0)
    one.read([3])
    second = one.scores().log_softmax(0)
    assert costs == pytest.approx([-float(first[3]), -float(second[1])], rel=1e-5)


def test_the_end_of_text_forgets_what_came_before_and_a_copy_goes_its_own_way(model):
    one, other = ModelDecoder(model, END), ModelDecoder(model, END)
    one.read([1, 2, 3, END])
    other.read([END])
    torch.testing.assert_close(one.scores(), other.scores())
    copied = one.copy()
    copied.read([5])
    torch.testing.assert_close(one.scores(), other.scores())
    assert not torch.allclose(copied.scores(), one.scores())


def test_a_nat_is_more_than_a_bit():
    assert bits(math.log(8)) == pytest.approx(3.0)
