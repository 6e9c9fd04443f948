"""The state of a model is a value."""

from typing import NamedTuple

import torch

from mambrane.models.state import ModelState


class Inner(NamedTuple):
    trace: torch.Tensor


class Outer(NamedTuple):
    membrane: torch.Tensor
    inner: Inner | None


def test_a_detached_state_has_the_same_numbers_the_same_types_and_no_graph():
    weight = torch.ones(2, requires_grad=True)
    state = ModelState((Outer(weight * 2, Inner(weight * 3)), Outer(weight * 4, None)))
    detached = state.detach()
    assert type(detached.blocks[0].inner) is Inner
    assert detached.blocks[1].inner is None
    tensors = (detached.blocks[0].membrane, detached.blocks[0].inner.trace, detached.blocks[1].membrane)
    assert [tensor.tolist() for tensor in tensors] == [[2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]
    assert not any(tensor.requires_grad for tensor in tensors)
    assert state.blocks[0].membrane.requires_grad
