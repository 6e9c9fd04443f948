"""Runs an operation forward and backward, so that two backends of it can be compared name by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from mambrane.core.seeding import make_generator


def outputs_and_gradients(
    function: Callable[..., tuple[Tensor, ...]], inputs: dict[str, Tensor], **options: object
) -> dict[str, Tensor]:
    """Return every output and the gradient of every floating input, for fixed random gradients of all outputs."""
    leaves = {
        name: tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor
        for name, tensor in inputs.items()
    }
    outputs = function(**leaves, **options)
    generator = make_generator(7, "gradients of the outputs")
    grads = [torch.randn(output.shape, generator=generator).to(output.dtype) for output in outputs]
    torch.autograd.backward(outputs, grads)
    found = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    return found | {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.is_floating_point()}
