"""One list of arguments makes an operator and its backward operator; each device has an operator of its own."""

import itertools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mambrane.kernels.differentiable import differentiable

numbers = itertools.count()


class Arguments(NamedTuple):
    x: Tensor
    y: Tensor
    factor: float


class Outputs(NamedTuple):
    product: Tensor
    total: Tensor
    kept: Tensor


def make_outputs(inputs):
    return Outputs(torch.empty_like(inputs.x), torch.empty_like(inputs.y), torch.empty_like(inputs.x))


def run_forward(inputs, outputs):
    outputs.product.copy_(inputs.factor * inputs.x * inputs.y)
    outputs.total.copy_(inputs.x + inputs.y)
    outputs.kept.copy_(inputs.x)


def make_product(run_backward, *, device="CPU", **options):
    """Register factor x y and x + y, with x kept beside them; return it and its name."""
    name = f"test_product_{next(numbers)}"
    call = differentiable(
        name,
        Arguments,
        Outputs,
        make_outputs,
        run_forward,
        run_backward,
        saves=("kept", "y", "factor"),
        gradients={"x": "kept", "y": "total"},
        internal=("kept",),
        device=device,
        **options,
    )
    return call, name


def run_backward(grads, saved):
    assert grads.kept is None
    return saved.factor * grads.product * saved.y + grads.total, saved.factor * grads.product * saved.kept + grads.total


def leaves():
    return torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 5.0], requires_grad=True)


def test_outputs_have_names_and_gradients_flow_from_each():
    product, _ = make_product(run_backward)
    x, y = leaves()
    outputs = product(x, y, 2.0)
    assert outputs.product.tolist() == [6.0, 20.0]
    (outputs.product.sum() + 10 * outputs.total.sum()).backward()
    assert x.grad.tolist() == [16.0, 20.0]
    assert y.grad.tolist() == [12.0, 14.0]
    assert not outputs.kept.requires_grad


@pytest.mark.parametrize(("read", "expected"), [("product", [6.0, 10.0]), ("total", [1.0, 1.0])])
def test_an_output_that_nothing_reads_counts_as_zeros(read, expected):
    product, _ = make_product(run_backward)
    x, y = leaves()
    getattr(product(x, y, 2.0), read).sum().backward()
    assert x.grad.tolist() == expected


def test_other_zeros_stand_for_it_where_given():
    seen = []

    def watch(grads, saved):
        seen.append(grads.product.shape)
        return run_backward(grads, saved)

    product, _ = make_product(watch, make_zeros=lambda saved: (saved.y.new_zeros(1), torch.zeros_like(saved.y)))
    x, y = leaves()
    product(x, y, 2.0).total.sum().backward()
    assert seen == [(1,)]
    assert x.grad.tolist() == [1.0, 1.0]


def test_torch_finds_nothing_wrong_with_it():
    _, name = make_product(run_backward)
    torch.library.opcheck(getattr(torch.ops.mambrane, name).default, (*leaves(), 2.0))
    backward = getattr(torch.ops.mambrane, f"{name}_backward").default
    torch.library.opcheck(backward, (*(torch.randn(2) for _ in range(4)), 2.0))


def test_an_operator_for_another_device_does_not_compute_on_the_cpu():
    product, _ = make_product(run_backward, device="CUDA")
    assert product(torch.empty(2, device="meta"), torch.empty(2, device="meta"), 1.0).total.device.type == "meta"
    with pytest.raises(NotImplementedError, match="CPU"):
        product(torch.ones(2), torch.ones(2), 1.0)
