"""Memory that torch has not written yet holds NaN in these tests, so that reading it shows."""

import jaxtyping
import pytest
import torch
from torch.utils import _device


@pytest.fixture(autouse=True)
def _poison_uninitialised_memory(monkeypatch):
    def poisoned(make):
        def make_poisoned(*arguments, **options):
            tensor = make(*arguments, **options)
            if tensor.is_floating_point():
                # Older versions of torch make tensors here that gradients flow to.
                tensor.detach().fill_(torch.nan)
            return tensor

        return make_poisoned

    # Torch remembers at its first use what `with torch.device(...)` acts on: nothing of it may be poisoned then.
    _device._device_constructors()
    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))


@pytest.fixture
def num_threads(monkeypatch):
    """Sets torch's number of threads, for one test in which they share even little work."""
    monkeypatch.setattr("mambrane.kernels.threads.SMALL_WORK_NS", 0)
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def without_type_checks():
    """Leaves wrong arguments to the operations themselves, as outside the tests: annotations are not checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
