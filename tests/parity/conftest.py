"""The outside implementations, each imported by a fixture: a test is skipped, with the reason, where one is missing."""

import sys
import warnings
from types import ModuleType

import pytest
import torch

# No peer needs them here, but transformers would try: PyPI's builds are for CUDA and do not load beside a CPU torch.
sys.modules.update(torchvision=None, torchaudio=None)

REASON = "pip install -c constraints.txt -r requirements/parity.txt"


@pytest.fixture
def snntorch() -> ModuleType:
    return pytest.importorskip("snntorch", reason=REASON)


@pytest.fixture
def spikingjelly() -> ModuleType:
    """The package of its neurons and surrogates."""
    pytest.importorskip("spikingjelly", reason=REASON)
    return pytest.importorskip("spikingjelly.activation_based", reason=REASON)


@pytest.fixture
def norse() -> ModuleType:
    with warnings.catch_warnings():
        # It compiles functions with torch.jit.script at import.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=DeprecationWarning)
        return pytest.importorskip("norse.torch", reason=REASON)


@pytest.fixture
def ncps() -> ModuleType:
    return pytest.importorskip("ncps.torch", reason=REASON)


@pytest.fixture
def peer_seed():
    """Peers draw their initial weights from torch's global generator: seed it, and put it back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
