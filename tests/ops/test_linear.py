"""Affine map: oneDNN's products equal PyTorch's, forward and backward, in every layout; rows do not see each other."""

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mambrane.core.seeding import make_generator
from mambrane.layers.linear import Linear
from mambrane.ops.linear import linear
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(*leading, inputs=12, outputs=20, bias=True):
    generator = make_generator(0, "linear")
    tensors = {
        "x": torch.randn(*leading, inputs, generator=generator),
        "weight_OI": torch.randn(outputs, inputs, generator=generator),
    }
    return tensors | ({"bias_O": torch.randn(outputs, generator=generator)} if bias else {})


def as_tuple(**inputs):
    return (linear(**inputs),)


def assert_onednn_equals_reference(inputs):
    reference = outputs_and_gradients(as_tuple, inputs, backend="reference")
    got = outputs_and_gradients(as_tuple, inputs, backend="onednn")
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[torch.float32])


# The gradient of the weight is computed one way for wide inputs, another for wide outputs.
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 9), (7, 130), (130, 7), (64, 64)])
@pytest.mark.parametrize("leading", [(1,), (3, 17), (2, 3, 5), ()], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_onednn_equals_reference_forward_and_backward(leading, inputs, outputs, bias):
    assert_onednn_equals_reference(make_inputs(*leading, inputs=inputs, outputs=outputs, bias=bias))


def test_slices_and_transposes_give_the_numbers_of_their_copies():
    inputs = make_inputs(4, 6, inputs=12)
    x, weight_OI = inputs["x"], inputs["weight_OI"]
    expected = linear(x[..., 3:8].contiguous(), weight_OI[:, 3:8].contiguous())
    assert torch.equal(linear(x[..., 3:8], weight_OI[:, 3:8]), expected)
    transposed = x.transpose(0, 1)
    assert torch.equal(linear(transposed, weight_OI), linear(transposed.contiguous(), weight_OI))


def test_a_gradient_that_is_a_slice_gives_the_gradient_of_its_copy():
    inputs = {name: tensor.requires_grad_() for name, tensor in make_inputs(5, 6).items()}
    gradient = torch.randn(6, 5, 20, generator=make_generator(1, "linear")).transpose(0, 1)
    found = [torch.autograd.grad(linear(**inputs), list(inputs.values()), g) for g in (gradient, gradient.contiguous())]
    assert all(torch.equal(sliced, copied) for sliced, copied in zip(*found, strict=True))


def test_a_row_does_not_see_the_others():
    inputs = make_inputs(3, 40)
    changed = inputs["x"].clone()
    changed[1, 25] = 100.0
    before, after = linear(**inputs), linear(**inputs | {"x": changed})
    before[1, 25] = after[1, 25] = 0.0
    assert torch.equal(before, after)


def test_frozen_inputs_and_weights_get_no_gradient():
    inputs = make_inputs(3)
    inputs["weight_OI"].requires_grad_()
    linear(**inputs).sum().backward()
    assert inputs["x"].grad is None
    assert inputs["weight_OI"].grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_types_are_left_to_pytorch(dtype):
    inputs = {name: tensor.to(dtype) for name, tensor in make_inputs(3).items()}
    assert torch.equal(linear(**inputs), functional.linear(*inputs.values()))


def test_autocast_rounds_as_it_does_in_pytorch():
    inputs = make_inputs(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(**inputs), functional.linear(*inputs.values()))


def test_the_layer_takes_the_weights_of_torch_s_own():
    ours, torchs = Linear(12, 20), torch.nn.Linear(12, 20)
    ours.load_state_dict(torchs.state_dict())
    x = make_inputs(3, 4)["x"]
    torch.testing.assert_close(ours(x), torchs(x))


def test_the_counter_of_torch_counts_its_operations():
    with FlopCounterMode(display=False) as counter:
        linear(**make_inputs(5, 6))
    assert counter.get_total_flops() == 2 * 30 * 12 * 20
