"""While tests run, the package's types and shapes are checked at every call."""

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation

from mambrane.core.printable import printable
from mambrane.layers.spiking import firing_rate_per_tick
from mambrane.ops import causal_trace


def test_a_tensor_of_another_shape_is_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="causal_trace"):
        causal_trace(torch.zeros(2, 3), 0.9)


def test_a_value_of_another_type_is_refused_where_no_shape_is_named_too():
    assert printable("a") == "a"
    with pytest.raises(BeartypeCallHintViolation, match="printable"):
        printable(3)


def test_both_are_off_where_jaxtyping_is_disabled(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert printable(3) == "3"
    assert firing_rate_per_tick(torch.zeros(2, 3, 4, 5)) is not None
