"""What a run sets of torch's own state, and that it puts it back."""

import os

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.engine.arithmetic import arithmetic
from mambrane.engine.precision import Precision, choose_precision

CPU = torch.device("cpu")


def state() -> tuple[str, bool, bool]:
    return (
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_float32_products_are_float32_unless_tf32_is_asked_for(precision: str):
    with arithmetic(precision, deterministic=False):
        assert torch.get_float32_matmul_precision() == "highest"
    with arithmetic("tf32", deterministic=False):
        assert torch.get_float32_matmul_precision() == "high"


def test_determinism_is_asked_of_torch_and_of_cublas_and_everything_comes_back(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = state()
    with arithmetic("fp32", deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert state() == before
    with pytest.raises(ZeroDivisionError), arithmetic("tf32", deterministic=True):
        _ = 1 / 0
    assert state() == before


def test_without_the_flag_nothing_deterministic_is_asked_for():
    with arithmetic("fp32", deterministic=False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_a_deterministic_form_is_named():
    words = "cumsum_cuda_kernel does not have a deterministic implementation"
    with pytest.raises(UserError, match=f"--deterministic: {words}\n"), arithmetic("fp32", deterministic=True):
        raise RuntimeError(f"{words}, but you set ...")
    with pytest.raises(RuntimeError, match="something else"), arithmetic("fp32", deterministic=True):
        raise RuntimeError("something else")


def test_tf32_is_float32_where_there_is_no_gpu():
    assert choose_precision("tf32", mixed_precision=True, device=CPU) == "fp32"
    assert choose_precision("tf32", mixed_precision=True, device=torch.device("cuda")) == "tf32"


def test_a_model_is_looked_at_in_the_runs_precision_but_never_with_unscaled_fp16_gradients():
    x, weight = torch.ones(2, 3), torch.ones(4, 3)
    expected = {"fp32": (torch.float32,) * 2, "bf16": (torch.bfloat16,) * 2, "fp16": (torch.float16, torch.float32)}
    for kind, types in expected.items():
        precision = Precision(kind, CPU)
        with precision.autocast(keeps_casts=False):
            assert torch.nn.functional.linear(x, weight).dtype == types[0]
        with precision.autocast_unscaled():
            assert torch.nn.functional.linear(x, weight).dtype == types[1]
