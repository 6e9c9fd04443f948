"""Sums over chunks of logits are those over all of them, with their gradients."""

import torch

from mambrane.continual import chunked_logits
from mambrane.continual.chunked_logits import log_probabilities, sum_over_chunks


def test_the_sum_and_its_gradients_do_not_depend_on_the_size_of_a_chunk(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x_ND, weight_VD = (torch.randn(size, 4, generator=generator, dtype=torch.float64) for size in (7, 5))
    found = []
    for logits in (1, 10, 1000):
        monkeypatch.setattr(chunked_logits, "CHUNK_LOGITS", logits)
        x_ND, weight_VD = (each.detach().requires_grad_() for each in (x_ND, weight_VD))
        total = sum_over_chunks(lambda x_CD: log_probabilities(x_CD, weight_VD).square().sum(), 5, x_ND)  # noqa: B023
        found.append([total, *torch.autograd.grad(total, (x_ND, weight_VD))])
    whole = torch.log_softmax(x_ND @ weight_VD.T, dim=-1).square().sum()
    assert torch.allclose(found[0][0], whole)
    for one, two, three in zip(*found, strict=True):
        assert torch.allclose(one, two)
        assert torch.allclose(two, three)


def test_logits_are_divided_by_the_temperature_and_half_ones_summed_in_float32():
    x_ND, weight_VD = torch.tensor([[1.0, 2.0]]), torch.eye(2)
    expected = torch.tensor([[0.5, 1.0]]).log_softmax(dim=-1)
    assert torch.allclose(log_probabilities(x_ND, weight_VD, temperature=2.0), expected)
    assert log_probabilities(x_ND.bfloat16(), weight_VD.bfloat16()).dtype == torch.float32
