"""Numbers that are set to zero in training."""

import torch

from mambrane.layers.dropout import Dropout, count_dropout, dropout_of_rows

ONES = torch.ones(200, 300)


def test_the_part_is_zero_and_the_mean_stays():
    y = Dropout(0.25, seed=1)(ONES)
    assert abs((y == 0).float().mean() - 0.25) < 0.01
    assert torch.equal(y.unique(), torch.tensor([0.0, 1 / 0.75]))


def test_each_call_keeps_others_and_so_does_each_seed():
    layer = Dropout(0.5, seed=1)
    first, second = layer(ONES), layer(ONES)
    assert not torch.equal(first, second)
    assert not torch.equal(first, Dropout(0.5, seed=2)(ONES))


def test_a_saved_layer_goes_on_where_it_stood_and_global_generators_do_not_matter():
    layer, other = Dropout(0.5, seed=1), Dropout(0.5, seed=1)
    layer(ONES)
    other.load_state_dict(layer.state_dict())
    expected = layer(ONES)
    torch.manual_seed(99)
    assert torch.equal(other(ONES), expected)


def test_in_evaluation_nothing_is_dropped_or_counted():
    layer = Dropout(0.5, seed=1).eval()
    assert layer(ONES) is ONES
    assert int(layer.num_calls) == 0


def test_rows_that_are_run_apart_keep_what_they_keep_together():
    whole, parts = Dropout(0.5, seed=1), Dropout(0.5, seed=1)
    for _ in range(2):
        expected, found = whole(ONES), []
        for first in (0, 150):
            with dropout_of_rows(parts, first, len(ONES)):
                found.append(parts(ONES[first : first + 150]))
        count_dropout(parts)
        assert torch.equal(torch.cat(found), expected)
    assert int(parts.num_calls) == int(whole.num_calls) == 2


def test_the_gradient_passes_where_numbers_were_kept():
    x = ONES.clone().requires_grad_()
    y = Dropout(0.5, seed=1)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
