"""What every test relies on: one thread for each process, and examples of Hypothesis that no clock can fail."""

import io
import os
import signal
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.checked_types import check_shapes_only_where_there_are_some

# Before torch is imported, and inherited by the programs that tests start: tensors are tiny here, and the processes
# share the cores (pytest -n).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Triton reads this when it is imported, and then runs kernels on CPU tensors; where there is a GPU they run there.
if not Path("/dev/nvidiactl").exists() and not Path("/dev/kfd").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Behind nohup and "&" the programs that tests start would ignore what these do; a handler is not inherited, SIG_IGN is.
for name in ("SIGHUP", "SIGINT"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

check_shapes_only_where_there_are_some()

# What Hypothesis is set to already stays: where the variable CI is set it draws the same examples in each run.
settings.register_profile("mambrane", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mambrane")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep each file in one process of `pytest -n`: what its tests share is made once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items):
    """Run the files that hold slow tests first, so that no process waits for another at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


SMALL_RUN = (
    "--preset tiny --epochs 2 --tokenizer bytes --hidden-dim 16 --num-layers 1 --spiking-units 8 --num-gate-heads 4 "
    "--cross-attn-heads 4 --mamba-d-state 4 --sequence-length 32 --batch-size 4 --epoch-tokens 512 --num-tasks 2 "
    "--max-heldout-bytes 256 --use-stdp --use-meta-plasticity"
)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a finished run of two tasks, and what training it printed; to be read only."""
    # Not before the variable above is set: these import torch.
    from mambrane.app.cli import main
    from tests.contract.main_job import write_domains

    folder = tmp_path_factory.mktemp("finished")
    data, printed = write_domains(folder / "texts"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("MAMBRANE_CACHE", str(folder / "cache"))
        words = ["train", *SMALL_RUN.split(), "--data", str(data), "--output-dir", str(folder / "run")]
        assert main(words) == 0
    return folder / "run", printed.getvalue()


@pytest.fixture
def run_folder(finished_run, monkeypatch):
    """The folder of a finished run of two tasks, to be read only, with the cache of its texts."""
    monkeypatch.setenv("MAMBRANE_CACHE", str(finished_run[0].parent / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    return finished_run[0]


@pytest.fixture(scope="session")
def hybrid_run(tmp_path_factory) -> Path:
    """A finished run of two tasks with a hybrid block, every switch of the main command on."""
    from tests.settings.whole_recipe import MAIN_SWITCHES

    return _train_small(tmp_path_factory.mktemp("hybrid"), *MAIN_SWITCHES.split())


@pytest.fixture(scope="session")
def mamba_run(tmp_path_factory) -> Path:
    """One of plain Mamba blocks, with replay."""
    return _train_small(tmp_path_factory.mktemp("mamba"), "--block-pattern", "mamba")


def _train_small(folder: Path, *words: str) -> Path:
    """Train as `tests/trained.py` does, and leave the variable of the cache as it was."""
    from tests.trained import train_small

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMBRANE_CACHE", str(folder / "cache"))
        return train_small(folder, *words)
