"""A device that is not there is refused with the way out."""

import pytest
import torch

from mambrane.core.device import describe_environment, resolve_device
from mambrane.core.errors import UserError


def test_auto_is_the_gpu_if_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x"])
def test_a_word_that_is_no_device_is_refused(name):
    with pytest.raises(UserError, match="way out: --device"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="sees no CUDA device"):
        resolve_device("cuda")


def test_the_environment_names_what_decides_the_bits():
    described = describe_environment(torch.device("cpu"))
    assert described["torch"] == torch.__version__
    assert described["num_threads"] == torch.get_num_threads()
