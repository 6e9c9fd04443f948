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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [1, 7, 33])
@pytest.mark.parametrize("tokens_of_a_chunk", [1, 5, 1000])
def test_chunks_equal_the_reference_forward_and_backward(chunks_of, tokens, tokens_of_a_chunk, dtype):
    chunks_of(tokens_of_a_chunk)
    inputs = make_inputs(tokens, dtype)
    reference = outputs_and_gradients(as_tuple, inputs, backend="reference")
    got = outputs_and_gradients(as_tuple, inputs, backend="chunked")
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


def test_a_target_that_does_not_count_costs_nothing_and_moves_nothing():
    inputs = make_inputs(3)
    inputs["x_BTD"].requires_grad_()
    nats_BT = linear_cross_entropy(**inputs)
    nats_BT.sum().backward()
    assert nats_BT[0, 0] == 0.0
    assert not inputs["x_BTD"].grad[0, 0].any()
    assert inputs["x_BTD"].grad[0, 1].any()


def test_under_autocast_the_products_are_rounded_and_the_nats_are_float32():
    inputs = make_inputs(9)
    with torch.autocast("cpu", torch.bfloat16):
        nats = {backend: linear_cross_entropy(**inputs, backend=backend) for backend in ("reference", "chunked")}
    assert nats["chunked"].dtype == torch.float32
    assert not torch.equal(nats["chunked"], linear_cross_entropy(**inputs))
    torch.testing.assert_close(nats["chunked"], nats["reference"])


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
    for backend, largest in (("reference", BATCH * 400 * VOCABULARY), ("chunked", BATCH * 400 * DIM)):
        with LargestTensor() as watch:
            linear_cross_entropy(**inputs, backend=backend).sum().backward()
        assert watch.numel == largest
