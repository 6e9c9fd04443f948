"""Every operation takes a batch of all its arguments under torch.vmap, weights too, in each of its backends."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from mambrane.core.seeding import make_generator
from tests.ops.test_checks import FOLDERS, NAMES, backends_of, floats, right
from tests.ops.test_layouts import changed

BATCH = 2
WITHOUT_GRADIENTS = ("spike_pairs", "sum_of_outer_products", "update_gate")
ON_LOGITS = ("linear_cross_entropy",)
"""What looks at single sequences reads their logits."""


def arguments_of(name):
    """Return the operation and a batch of arguments with gradients."""
    run, arguments = right(name, T=20)
    generator = make_generator(0, "vmap")

    def draw(tensor):
        if not tensor.is_floating_point():
            return torch.stack([tensor, tensor.roll(1, -1)])
        # Rates of scans are negative; all other arguments may be positive.
        return tensor.sign() * (0.1 + 0.5 * torch.rand((BATCH, *tensor.shape), generator=generator))

    return run, changed(arguments, draw)


def tensors_and_call(run, arguments, backend):
    """Return the tensors among the arguments, and the operation as a function of them."""
    leaves, structure = pytree.tree_flatten(arguments)
    is_tensor = [isinstance(leaf, torch.Tensor) for leaf in leaves]

    def call(*tensors):
        given = iter(tensors)
        filled = [next(given) if is_one else leaf for leaf, is_one in zip(leaves, is_tensor, strict=True)]
        outputs = run(**pytree.tree_unflatten(filled, structure), backend=backend)
        return tuple(floats(outputs if isinstance(outputs, (tuple, list)) else [outputs]))

    return [leaf for leaf, is_one in zip(leaves, is_tensor, strict=True) if is_one], call


@pytest.mark.parametrize("name", sorted({*NAMES} - {*FOLDERS, *WITHOUT_GRADIENTS, *ON_LOGITS}))
def test_a_batch_of_calls_gives_the_numbers_and_the_gradients_of_each(name):
    # A batch of weights goes to PyTorch, whose product has a rule for it.
    for backend in (each for each in backends_of(name) if each != "onednn"):
        tensors, call = tensors_and_call(*arguments_of(name), backend)
        wanted = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
        found = []
        for outputs in (
            _under_vmap(call, tensors),
            [torch.stack(each) for each in zip(*(call(*row) for row in zip(*tensors, strict=True)), strict=True)],
        ):
            loss = sum((output * torch.arange(output.numel()).view(output.shape).sin()).sum() for output in outputs)
            found.append([*outputs, *torch.autograd.grad(loss, wanted, allow_unused=True)])
        for together, alone in zip(*found, strict=True):
            torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def _under_vmap(call, tensors):
    # PyTorch has no rule for its fused attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH):
        return torch.vmap(call)(*tensors)
