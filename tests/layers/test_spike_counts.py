"""Claims about signed spike counts."""

import pytest
import torch

from mambrane.layers.spike_counts import spike_counts


@pytest.mark.parametrize("levels", [1, 4])
def test_each_token_is_whole_numbers_within_the_levels_times_one_factor(levels: int):
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0))
    read = spike_counts(x, levels)
    factor = (1.5 if levels == 1 else 0.5) * x.abs().mean(-1, keepdim=True)
    signed = read.numbers / factor
    torch.testing.assert_close(signed, signed.round(), atol=1e-5, rtol=0)
    torch.testing.assert_close(signed.abs().round(), read.counts)
    torch.testing.assert_close(signed.round(), (x / factor).round().clamp(-levels, levels))
    assert read.counts.max() == levels
    assert 0.3 < (read.counts > 0).float().mean() < 0.9


def test_the_gradient_passes_inside_the_range_and_stops_outside():
    x = torch.tensor([[0.1, -1.0, 1.0, 8.0]], requires_grad=True)
    spike_counts(x, 1).numbers.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0, 1.0, 0.0]]


def test_a_token_of_zeros_stays_zero_and_tokens_do_not_touch_each_other():
    x = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    assert torch.equal(spike_counts(x, 1).numbers[0], torch.zeros(2))
    assert torch.equal(spike_counts(x, 1).numbers[1], spike_counts(x[1:], 1).numbers[0])
