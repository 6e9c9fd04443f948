"""Gate and norm of Mamba 2 in one: the numbers of both behind each other. The GPU form is held by test_triton.py."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.ops import gated_norm, gated_skip, rms_norm
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close


def make_inputs(dtype=torch.float64):
    generator = make_generator(0, "gated norm")
    shapes = {"y_BTE": (2, 3, 12), "gate_BTE": (2, 3, 12), "weight_E": (12,)}
    return {name: torch.randn(*shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("groups", [1, 3])
def test_it_is_the_gate_and_then_the_norm_of_each_group(groups):
    def one(**inputs):
        return (gated_norm(**inputs, groups=groups, eps=0.1),)

    def both(y_BTE, gate_BTE, weight_E):
        u_BTE = gated_skip(y_BTE, y_BTE, torch.zeros_like(weight_E), gate_BTE)
        return (rms_norm(u_BTE.unflatten(-1, (groups, -1)), eps=0.1).flatten(-2) * weight_E,)

    inputs = make_inputs()
    expected, got = outputs_and_gradients(both, inputs), outputs_and_gradients(one, inputs)
    for name in expected:
        assert_close(name, expected[name], got[name], RATIO[torch.float64])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_float32_inside(dtype):
    inputs = make_inputs(dtype)
    whole = gated_norm(**{name: each.float() for name, each in inputs.items()})
    assert torch.equal(gated_norm(**inputs), whole.to(dtype))


@pytest.mark.parametrize("groups", [0, 5, 24])
def test_groups_that_do_not_divide_the_width_are_refused(groups):
    with pytest.raises(UserError, match=f"{groups} groups of 12 numbers"):
        gated_norm(**make_inputs(), groups=groups)
