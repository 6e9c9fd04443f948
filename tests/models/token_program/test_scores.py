"""Drawing from scores and asking for a token's cost are those of torch."""

import numpy as np
import pytest
import torch

from mambrane.measure.sampling import token_at
from mambrane.models.token_program.scores import draw_from, log_probability

SCORES = torch.randn(37, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_each_point_of_the_unit_interval_holds_the_same_token(temperature):
    memory = np.concatenate([np.zeros(3, np.float32), SCORES.numpy(), np.full(2, 99.0, np.float32)])
    probabilities = (SCORES.double() / temperature).softmax(-1)
    for point in np.linspace(0.0, 0.9999, 101):
        expected = int(token_at(probabilities, torch.tensor(point)))
        assert draw_from(memory, 3, 37, temperature, point) == expected


def test_a_token_without_probability_is_never_drawn():
    scores = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf], dtype=np.float32)
    assert {draw_from(scores, 0, 5, 1.0, point) for point in np.linspace(0.0, 1.0, 11)} == {1, 3}


def test_the_cost_of_a_token_is_that_of_log_softmax():
    expected = SCORES.double().log_softmax(-1)
    for token in (0, 5, 36):
        assert log_probability(SCORES.numpy(), 0, 37, token) == pytest.approx(expected[token].item(), rel=1e-5)
