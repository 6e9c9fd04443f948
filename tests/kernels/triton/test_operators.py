"""An operator of kernels of Triton: as any differentiable one, and its launches can be rehearsed."""

from typing import NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.triton.launch import Kernels
from mambrane.kernels.triton.operators import gpu_operator

KERNELS = Kernels("no.such.module")


class Inputs(NamedTuple):
    x: Tensor
    factor: float


class Outputs(NamedTuple):
    y: Tensor


def make_outputs(inputs):
    return Outputs(torch.empty_like(inputs.x))


def run_forward(inputs, outputs):
    if inputs.x.device.type == "meta":
        KERNELS.start("forward", (1,), inputs.x, outputs.y)
    outputs.y.copy_(inputs.factor * inputs.x)


def run_backward(grads, saved):
    return (grads.y * saved.factor,)


scale = gpu_operator(
    "test_scale", Inputs, Outputs, make_outputs, run_forward, run_backward, saves=("factor",), gradients={"x": "y"}
)


def test_it_computes_and_differentiates_under_its_own_name():
    x = torch.arange(3.0, requires_grad=True)
    y = scale(x, 2.0).y
    y.sum().backward()
    assert y.tolist() == [0.0, 2.0, 4.0]
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert hasattr(torch.ops.mambrane, "test_scale_triton")
