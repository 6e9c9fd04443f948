"""From scores to a token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.measure.sampling import Sampling, draw_token, keep_top_k, keep_top_p


def scores(rows=4, vocab=50, seed=0):
    return 3 * torch.randn(rows, vocab, generator=make_generator(seed, "scores"))


@pytest.mark.peer
@pytest.mark.parametrize("top_k", [1, 2, 7, 50, 99])
def test_top_k_is_that_of_transformers(top_k):
    from transformers.generation.logits_process import TopKLogitsWarper

    assert torch.equal(keep_top_k(scores(), top_k), TopKLogitsWarper(top_k)(None, scores()))


@pytest.mark.peer
@pytest.mark.parametrize("top_p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p_is_that_of_transformers(top_p):
    from transformers.generation.logits_process import TopPLogitsWarper

    assert torch.equal(keep_top_p(scores(), top_p), TopPLogitsWarper(top_p)(None, scores()))


def test_top_k_keeps_equal_scores_together():
    kept = keep_top_k(torch.tensor([[1.0, 3.0, 3.0, 3.0, 2.0]]), 2)
    assert kept.isfinite().tolist() == [[False, True, True, True, False]]


def test_top_p_keeps_the_smallest_set_that_reaches_the_probability():
    probabilities = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    assert keep_top_p(probabilities.log(), 0.6).isfinite().tolist() == [[False, True, False, True]]


def test_top_p_is_reached_by_a_sum_that_equals_it():
    assert keep_top_p(torch.zeros(1, 2), 0.5).isfinite().sum() == 1
    assert keep_top_p(torch.zeros(1, 4), 0.75).isfinite().sum() == 3


def test_top_p_keeps_the_best_token_however_small_p_is():
    assert keep_top_p(scores(), 1e-12).isfinite().sum(dim=1).tolist() == [1, 1, 1, 1]


def test_filters_that_are_off_change_nothing():
    assert keep_top_k(scores(), 0) is not None
    assert torch.equal(keep_top_k(scores(), 0), scores())
    assert torch.equal(keep_top_p(scores(), 1.0), scores())


@given(
    seed=st.integers(0, 1000), top_k=st.integers(0, 20), top_p=st.floats(0.01, 1.0), temperature=st.floats(0.05, 5.0)
)
def test_a_drawn_token_passed_both_filters(seed, top_k, top_p, temperature):
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    scores_1V = scores(rows=1, vocab=20, seed=seed)
    token = draw_token(scores_1V[0], sampling, make_generator(seed, "draw"))
    assert keep_top_p(keep_top_k(scores_1V.double() / temperature, top_k), top_p)[0, token].isfinite()


def test_tokens_are_drawn_as_often_as_they_are_probable():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    generator, sampling = make_generator(0, "draw"), Sampling(temperature=1.0)
    drawn = torch.tensor([draw_token(probabilities.log(), sampling, generator) for _ in range(4000)])
    shares = drawn.bincount(minlength=4) / len(drawn)
    assert shares[1] == 0
    assert torch.allclose(shares, probabilities, atol=0.03)


def test_temperature_zero_takes_the_best_token_and_draws_nothing():
    generator = make_generator(0, "draw")
    before = generator.get_state()
    assert draw_token(torch.tensor([0.0, 2.0, 1.0]), Sampling(temperature=0.0), generator) == 1
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"temperature": -0.1}, "--temperature -0.1"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"top_k": -1}, "--top-k -1"),
        ({"top_p": 0.0}, "--top-p 0.0"),
        ({"top_p": 1.1}, "--top-p 1.1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_the_way_out(setting, flag):
    with pytest.raises(UserError, match=flag) as refusal:
        Sampling(**setting)
    assert refusal.value.way_out.startswith(flag.split()[0])
