"""How long a run will take."""

import pytest
import torch

from mambrane.continual.stream import build_stream
from mambrane.run.build import build_task_kind
from mambrane.run.run import Run
from mambrane.training.timing import expected_time, now_s


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


def test_the_whole_run_is_its_micro_batches_and_its_evaluations(run_folder):
    run = Run.open(run_folder)
    config, stream = run.config, build_stream(run.domains, run.config.continual, 4)
    found = expected_time(config, stream, 0.5)
    kind = build_task_kind(config, torch.device("cpu"))
    micro_batches = sum(kind.make_loader(task).num_batches * 2 for task in stream.tasks)
    heldout = sum(domain.heldout.num_tokens for domain in run.domains)
    assert found.training_s == 0.5 * micro_batches
    # Three rows of the matrix, a forward pass only, at a third of the time.
    assert found.evaluation_s == pytest.approx(0.5 / 3 * 3 * heldout / (4 * 32))
    assert found.seconds == found.training_s + found.evaluation_s
