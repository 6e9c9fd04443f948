"""What only a GPU can show; the same as `python -m benchmarks.gpu` asks, in the small."""

import pytest
import torch

from benchmarks.gpu.measurement import is_resumed_exactly, parity

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_every_operation_on_a_gpu_is_that_of_its_reference():
    rows = list(parity(torch.device("cuda")))
    assert all(row["is_met"] for row in rows), rows


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_deterministic_run_resumes_bit_for_bit(precision: str):
    assert is_resumed_exactly("cuda", "--precision", precision)


@pytest.mark.slow
def test_a_deterministic_run_of_mamba_2_resumes_bit_for_bit():
    assert is_resumed_exactly("cuda", "--mamba-version", "2")
