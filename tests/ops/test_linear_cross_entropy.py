"""Head and loss in chunks: the same nats and gradients as with all logits at once, and no tensor of that size."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.ops import linear_cross_entropy
from mambrane.ops.linear_cross_entropy import chunked
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, DIM, VOCABULARY = 2, 12, 50


def make_inputs(tokens, dtype=torch.float32):
    generator = make_generator(0, "cross entropy")
    targets_BT = torch.randint(0, VOCABULARY, (BATCH, tokens), generator=generator)
    targets_BT[0, 0] = IGNORED_TARGET
    return {
        "x_BTD": torch.randn(BATCH, tokens, DIM, generator=generator).to(dtype),
        "weight_VD": torch.randn(VOCABULARY, DIM, generator=generator).to(dtype),
        "targets_BT": targets_BT,
    }


def as_tuple(**inputs):
    return (linear_cross_entropy(**inputs),)


@pytest.fixture
def chunks_of(monkeypatch):
    """Sets how many tokens make a chunk."""
    return lambda tokens: monkeypatch.setattr(chunked, "CHUNK_LOGITS", tokens * VOCABULARY)


@pytest.mark.parametrize("backend", ["chunked", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [1, 7, 33])
@pytest.mark.parametrize("tokens_of_a_chunk", [1, 5, 1000])
def test_chunks_equal_the_reference_forward_and_backward(chunks_of, tokens, tokens_of_a_chunk, dtype, backend):
    chunks_of(tokens_of_a_chunk)
    inputs = make_inputs(tokens, dtype)
    reference = outputs_and_gradients(as_tuple, inputs, backend="reference")
    got = outputs_and_gradients(as_tuple, inputs, backend=backend)
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


@pytest.mark.parametrize("backend", ["chunked", "numba"])
def test_a_target_that_does_not_count_costs_nothing_and_moves_nothing(backend):
    inputs = make_inputs(3)
    inputs["x_BTD"].requires_grad_()
    nats_BT = linear_cross_entropy(**inputs, backend=backend)
    nats_BT.sum().backward()
    assert nats_BT[0, 0] == 0.0
    assert not inputs["x_BTD"].grad[0, 0].any()
    assert inputs["x_BTD"].grad[0, 1].any()


def test_under_autocast_the_products_are_rounded_and_the_nats_are_float32():
    inputs = make_inputs(9)
    with torch.autocast("cpu", torch.bfloat16):
        nats = {
            backend: linear_cross_entropy(**inputs, backend=backend) for backend in ("reference", "chunked", "numba")
        }
    for backend in ("chunked", "numba"):
        assert nats[backend].dtype == torch.float32
        assert not torch.equal(nats[backend], linear_cross_entropy(**inputs))
        torch.testing.assert_close(nats[backend], nats["reference"])


@pytest.mark.parametrize("vocabulary", [1, 63, 64, 200])
def test_any_vocabulary_and_any_size_of_logits_give_the_reference(vocabulary):
    inputs = make_inputs(5)
    inputs["weight_VD"] = 1e3 * torch.randn(vocabulary, DIM, generator=make_generator(1, "vocabulary"))
    inputs["targets_BT"] = inputs["targets_BT"].clamp(max=vocabulary - 1)
    reference = outputs_and_gradients(as_tuple, inputs, backend="reference")
    for name, got in outputs_and_gradients(as_tuple, inputs, backend="numba").items():
        torch.testing.assert_close(got, reference[name], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("target", [VOCABULARY, -1])
def test_a_target_outside_the_vocabulary_is_refused(target):
    inputs = make_inputs(5)
    inputs["targets_BT"][1, 3] = target
    with pytest.raises(IndexError, match=f"target {target} is out of bounds of a vocabulary of {VOCABULARY} tokens"):
        linear_cross_entropy(**inputs, backend="numba")


@pytest.mark.parametrize("backend", ["chunked", "numba"])
def test_the_logits_of_a_single_chunk_serve_a_second_backward_pass(backend):
    inputs = make_inputs(7)
    weight_VD = inputs["weight_VD"].requires_grad_()
    loss = linear_cross_entropy(**inputs, backend=backend).sum()
    first, second = (torch.autograd.grad(loss, weight_VD, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_gradients_of_gradients_are_refused():
    inputs = make_inputs(7)
    weight_VD = inputs["weight_VD"].requires_grad_()
    with pytest.raises(RuntimeError, match="create_graph=True"):
        torch.autograd.grad(linear_cross_entropy(**inputs, backend="numba").sum(), weight_VD, create_graph=True)


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        """Run the operation and look at what it returns."""
        found = function(*arguments, **(options or {}))
        for tensor in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return found


def test_no_tensor_of_all_logits_is_ever_made(chunks_of):
    chunks_of(10)
    inputs = {name: x.requires_grad_() if x.is_floating_point() else x for name, x in make_inputs(400).items()}
    for backend, largest in (
        ("reference", BATCH * 400 * VOCABULARY),
        ("chunked", BATCH * 400 * DIM),
        ("numba", BATCH * 400 * DIM),
    ):
        with LargestTensor() as watch:
            linear_cross_entropy(**inputs, backend=backend).sum().backward()
        assert watch.numel == largest
