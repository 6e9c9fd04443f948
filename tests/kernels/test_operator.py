"""An operator of ours behaves as torch's own: recorded only where gradients are wanted, and never silently wrong."""

import itertools

import pytest
import torch
from torch import Tensor

from mambrane.kernels.operator import is_differentiated, operator
from mambrane.ops import causal_trace

numbers = itertools.count()


def make_cube(name=None, *, is_differentiable=True):
    """Register x ** 3 with a factor, under a new name if none is given; return it and the name."""
    name = name or f"test_cube_{next(numbers)}"

    @operator(name)
    def cube(x: Tensor, factor: float) -> Tensor:
        return torch.from_numpy(factor * x.numpy(force=True) ** 3)

    @cube.register_shapes
    def _(x, factor):
        return torch.empty_like(x)

    def save(context, inputs, output):
        x, context.factor = inputs
        context.save_for_backward(x)

    def differentiate(context, grad):
        (x,) = context.saved_tensors
        return 3 * context.factor * grad * x * x, None

    if is_differentiable:
        cube.register_gradients(differentiate, save)
    return cube, name


def test_numbers_and_gradients_are_the_functions():
    cube, name = make_cube()
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = cube(x, 0.5)
    y.sum().backward()
    assert y.tolist() == [0.5, -4.0]
    assert x.grad.tolist() == [1.5, 6.0]
    assert name in y.grad_fn.name()
    assert torch.equal(getattr(torch.ops.mambrane, name)(x, 0.5), y)


def test_torch_finds_nothing_wrong_with_it():
    _, name = make_cube()
    torch.library.opcheck(getattr(torch.ops.mambrane, name).default, (torch.randn(3, requires_grad=True), 2.0))


def test_nothing_is_recorded_where_no_gradient_is_wanted():
    cube, _ = make_cube()
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not cube(x, 1.0).requires_grad
    assert not cube(x.detach(), 1.0).requires_grad
    with torch.inference_mode():
        assert cube(x, 1.0).tolist() == [1.0, 1.0]


def test_a_second_derivative_is_refused_and_the_reference_has_it():
    cube, name = make_cube()
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=f"create_graph=True asks .* mambrane::{name}"):
        torch.autograd.grad((x * cube(x, 1.0)).sum(), x, create_graph=True)
    x = torch.ones(1, 2, 3, requires_grad=True)
    once = torch.autograd.grad(causal_trace(x, 0.5, backend="reference")[0].square().sum(), x, create_graph=True)[0]
    assert torch.autograd.grad(once.sum(), x)[0].abs().sum() > 0


def test_a_batch_under_vmap_runs_one_by_one_and_gradients_flow_to_each():
    cube, _ = make_cube()
    x = torch.tensor([[1.0, -2.0], [3.0, 0.5]], requires_grad=True)
    # The batch comes second: each run gets a column.
    y = torch.vmap(cube, in_dims=(1, None), out_dims=1)(x, 0.5)
    assert torch.equal(y, cube(x, 0.5))
    y.sum().backward()
    assert torch.equal(x.grad, 1.5 * x.detach() ** 2)
    with torch.no_grad():
        assert not torch.vmap(cube, in_dims=(0, None))(x, 0.5).requires_grad


def test_under_vmap_gradients_may_be_asked_for_wherever_they_are_recorded():
    asked = []

    def ask(x):
        asked.append(is_differentiated(None, x))
        return x

    x = torch.ones(2, requires_grad=True)
    torch.vmap(ask)(x)
    with torch.no_grad():
        torch.vmap(ask)(x)
    ask(x.detach())
    assert asked == [True, False, False]


def test_compiling_keeps_the_bits():
    cube, _ = make_cube()
    x = torch.randn(5, requires_grad=True)
    compiled = torch.compile(lambda x: cube(2 * x, 0.3) + 1, backend="aot_eager", fullgraph=True)
    for run in (compiled, lambda x: cube(2 * x, 0.3) + 1):
        x.grad = None
        run(x).sum().backward()
        if run is compiled:
            expected = run(x), x.grad.clone()
    assert torch.equal(expected[0], run(x))
    assert torch.equal(expected[1], x.grad)


def test_a_tensor_of_another_device_is_refused():
    cube, _ = make_cube(is_differentiable=False)
    assert cube(torch.empty(2, device="meta"), 1.0).device.type == "meta"
    sparse = torch.ones(2).to_sparse()
    with pytest.raises(NotImplementedError, match="SparseCPU"):
        cube(sparse, 1.0)


def test_a_module_that_is_loaded_again_replaces_its_operator():
    _, name = make_cube()
    cube, _ = make_cube(name)
    x = torch.tensor([2.0], requires_grad=True)
    cube(x, 1.0).sum().backward()
    assert x.grad.item() == 12.0
    torch.library.opcheck(getattr(torch.ops.mambrane, name).default, (x, 2.0))
