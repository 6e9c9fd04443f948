"""Compiled blocks: refused where there is no compiler; else they train, differ in last bits at most, and resume."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.run.build import build_model
from mambrane.settings.presets import tiny
from mambrane.training import compiling

ROOT = Path(__file__).parents[2]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="--compile: there is no no-such-compiler here"):
        compiling.compile_blocks(build_model(tiny(), 257), CPU)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    assert "triton is not installed" in compiling.missing_for_compiling(CUDA)


def test_a_gpu_needs_triton_and_a_c_compiler(monkeypatch):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if name == "clang" else None)
    assert compiling.missing_for_compiling(CUDA) is None
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert "no gcc or clang" in compiling.missing_for_compiling(CUDA)


RUNS = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from tests.contract.whole_run import CONFIG, domains_of, sit
from tests.engine.tiny_training import training_differences

plain = replace(CONFIG, run=replace(CONFIG.run, max_steps=4), engine=replace(CONFIG.engine, precision="fp32"))
compiled = replace(plain, engine=replace(plain.engine, compile=True))
short = replace(compiled, run=replace(compiled.run, max_steps=2))
folder, domains = Path(sys.argv[1]), domains_of(8, 8, 8)

def run(name, config):
    sitting = sit(folder / name, domains, config=config)
    return sitting.runner.trainer.state_dict(), torch.tensor([event["loss"] for event in sitting.step_events])

(_, plain_losses), (straight, losses) = run("plain", plain), run("straight", compiled)
torch.testing.assert_close(losses, plain_losses, rtol=1e-4, atol=0)
run("resumed", short)
resumed, _ = run("resumed", compiled)
assert training_differences(straight, resumed, besides=["random"]) == []
from torch._dynamo.utils import counters
print("graphs", counters["stats"]["unique_graphs"])
"""


@pytest.mark.slow
@pytest.mark.skipif(compiling.missing_for_compiling(CPU) is not None, reason="no C++ compiler")
def test_a_compiled_run_learns_the_same_within_rounding_and_resumes_bit_for_bit(tmp_path):
    # A process of its own: the checks of shapes that pytest puts into functions are not for the compiler.
    done = subprocess.run([sys.executable, "-c", RUNS, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[-1]) > 0
