"""How long a run will take."""

import pytest
import torch

from mambrane.run.timing import now_s


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_clock_is_read_when_the_gpu_has_done_all_that_was_asked():
    device = torch.device("cuda")
    matrix = torch.ones(8192, 8192, device=device)
    for _ in range(50):
        matrix @ matrix
    assert not torch.cuda.current_stream(device).query()
    now_s(device)
    assert torch.cuda.current_stream(device).query()
