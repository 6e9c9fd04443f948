"""A device that is not there is refused with the way out."""

import pytest
import torch

from mambrane.core.device import describe_environment, resolve_device, take_device
from mambrane.core.errors import UserError


def test_auto_is_the_gpu_if_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cuda:", "mps", "xpu", "meta", "cpu:0", ""])
def test_a_word_that_is_no_device_is_refused(name):
    with pytest.raises(UserError, match="way out: --device"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="sees no CUDA device"):
        resolve_device("cuda")


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"last CUDA device here is cuda:1(.|\n)*--device cuda:1"):
        resolve_device("cuda:9")


def test_a_gpu_that_is_taken_becomes_the_gpu_of_the_process_and_a_cpu_changes_nothing(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert take_device("cuda:1") == torch.device("cuda:1")
    assert take_device("cpu") == torch.device("cpu")
    assert taken == [torch.device("cuda:1")]


def test_the_environment_names_what_decides_the_bits():
    described = describe_environment(torch.device("cpu"))
    assert described["torch"] == torch.__version__
    assert described["num_threads"] == torch.get_num_threads()
