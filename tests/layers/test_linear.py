"""The affine layer, product by product."""

import pytest
import torch

from mambrane.layers.linear import Linear


def make_linear(bias):
    layer = Linear(2, 3, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -4.0], [0.5, 0.0]]))
        if bias:
            layer.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))
    return layer


@torch.no_grad()
def test_rows_of_the_weight_are_outputs_and_the_bias_is_added():
    y = make_linear(bias=True)(torch.tensor([[[5.0, 7.0]]]))
    assert y.flatten().tolist() == pytest.approx([5 + 14 + 10, 15 - 28 + 20, 2.5 + 30])


@torch.no_grad()
def test_parts_are_cut_from_the_output_in_order():
    first, second = make_linear(bias=False).parts(torch.tensor([[[5.0, 7.0]]]), [1, 2])
    assert first.flatten().tolist() == pytest.approx([19.0])
    assert second.flatten().tolist() == pytest.approx([-13.0, 2.5])
    assert second.is_contiguous()


def test_parts_under_autocast_are_the_rounded_products_and_gradients_reach_the_weight():
    layer, x = make_linear(bias=False), torch.tensor([[[5.0, 7.0]]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        parts = layer.parts(x, [1, 2])
    assert all(part.dtype == torch.bfloat16 for part in parts)
    assert torch.cat(parts, dim=-1).flatten().tolist() == pytest.approx([19.0, -13.0, 2.5])
    sum(part.sum() for part in parts).backward()
    assert x.grad.flatten().tolist() == pytest.approx([4.5, -2.0])
    assert layer.weight.grad.tolist() == [[5.0, 7.0]] * 3
