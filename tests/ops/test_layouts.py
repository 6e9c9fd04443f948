"""An argument may be a view: transposed, a slice, one row for all. An operation reads its numbers, not its memory."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from tests.ops.test_checks import FOLDERS, NAMES, WITHOUT_GRADIENTS, backends_of, floats, right


def transposed(tensor):
    """Return the numbers of a tensor, stored in the opposite order of its dimensions."""
    dimensions = list(range(tensor.ndim))[::-1]
    return tensor.permute(dimensions).contiguous().permute(dimensions)


def batch_second(tensor):
    """Return the numbers of a tensor, stored with the first two dimensions exchanged: time first, say."""
    return tensor.transpose(0, 1).contiguous().transpose(0, 1) if tensor.ndim > 1 else tensor


def every_second(tensor):
    """Return the numbers of a tensor, stored with another one behind each."""
    return torch.stack([tensor, torch.full_like(tensor, 7)], dim=-1)[..., 0]


def changed(value, change):
    """Return a value with its tensors changed, those inside tuples and lists too."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: changed(each, change) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(changed(each, change) for each in value))
    return type(value)(changed(each, change) for each in value) if isinstance(value, (tuple, list)) else value


def results(name, backend, view, tokens):
    """Return the outputs of one call with arguments stored in another way, and all gradients."""
    run, arguments = right(name, T=tokens)
    generator = make_generator(0, "layouts")

    def draw(tensor):
        if not tensor.is_floating_point():
            return tensor.clone()
        # Rates of scans are negative; all other arguments may be positive.
        return tensor.sign() * (0.1 + 0.5 * torch.rand(tensor.shape, generator=generator))

    arguments = changed(arguments, draw)
    has_gradients = name not in WITHOUT_GRADIENTS
    leaves = [each.requires_grad_(has_gradients) for each in floats(arguments.values())]
    found = run(**changed(arguments, view), backend=backend)
    outputs = floats(found if isinstance(found, (tuple, list)) else [found])
    if has_gradients:
        grads = [view(torch.rand(output.shape, generator=generator)) for output in outputs]
        torch.autograd.backward(outputs, grads)
    return [each.detach() for each in outputs] + [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("view", [transposed, batch_second, every_second])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in FOLDERS])
def test_views_give_the_numbers_and_the_gradients_of_their_copies(name, view):
    for backend in backends_of(name):
        for tokens in (3, 40):
            of_copies = results(name, backend, torch.clone, tokens)
            of_views = results(name, backend, view, tokens)
            for wanted, found in zip(of_copies, of_views, strict=True):
                if wanted is None:
                    assert found is None
                else:
                    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", backends_of("linear"))
def test_a_bias_that_is_one_number_for_all_outputs_is_added_to_all(backend):
    run, arguments = right("linear")
    arguments["bias_O"] = torch.tensor([3.0]).expand(arguments["weight_OI"].shape[0])
    plain = run(**arguments | {"bias_O": None}, backend=backend)
    torch.testing.assert_close(run(**arguments, backend=backend), plain + 3)
