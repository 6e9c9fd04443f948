"""Which form runs, and why: nothing falls back in silence."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.ops import choose_backend, explain, lif

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_runs_kernels_and_a_gpu_plain_pytorch():
    assert choose_backend("lif", CPU) == "numba"
    assert choose_backend("lif", CUDA) == "reference"


def test_a_named_form_is_taken():
    assert choose_backend("lif", CPU, "reference") == "reference"
    assert choose_backend("selective_scan", CPU, "numba") == "numba"


def test_a_form_that_cannot_run_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"(?s)numba.*for lif.*does not run on cuda.*way out.*auto"):
        choose_backend("lif", CUDA, "numba")


def test_every_operation_is_explained_on_every_device():
    on_cpu, on_gpu = explain(), explain(CUDA)
    assert on_cpu.keys() == on_gpu.keys() >= {"causal_conv", "causal_trace", "lif", "selective_scan"}
    assert "compiled by Numba" in on_cpu["lif"]
    assert "no kernel for this device yet" in on_gpu["lif"]


def test_the_choice_reaches_the_operation():
    current, decay = torch.ones(1, 3, 2, requires_grad=True), torch.ones(2)
    assert "lif" in lif(current, decay, backend="numba").spikes_BTS.grad_fn.name()
    assert "Stack" in lif(current, decay, backend="reference").spikes_BTS.grad_fn.name()
