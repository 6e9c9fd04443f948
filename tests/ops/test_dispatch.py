"""Which backend runs, and why: nothing falls back in silence, and a new backend is one new file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mambrane
from mambrane.core.errors import UserError
from mambrane.ops import choose_backend, explain, lif
from mambrane.ops.dispatch import BACKENDS, OPERATIONS
from mambrane.ops.linear import linear

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_runs_kernels_and_a_gpu_plain_pytorch():
    assert choose_backend("cfc", CPU) == "numba"
    assert choose_backend("cfc", torch.device("mps")) == "reference"


def test_a_named_backend_is_taken():
    assert choose_backend("lif", CPU, "reference") == "reference"
    assert choose_backend("selective_scan", CPU, "numba") == "numba"


@pytest.mark.parametrize(
    ("operation", "requested", "device", "words"),
    [
        ("lif", "numba", CUDA, "it does not run on cuda"),
        ("lif", "onednn", CPU, "lif has no such backend"),
        ("lif", "fastest", CPU, "there is no such backend"),
        ("gelu", "auto", CPU, 'there is no operation "gelu"'),
    ],
)
def test_a_backend_that_cannot_run_is_refused_with_the_way_out(
    without_type_checks, operation, requested, device, words
):
    with pytest.raises(UserError, match=rf"(?s){words}.*wanted.*way out"):
        choose_backend(operation, device, requested)


@pytest.mark.parametrize("device", [CPU, CUDA, torch.device("mps")], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_every_operation_is_explained_on_every_device_and_type_by_the_backend_that_runs(device, dtype):
    explained = explain(device, dtype)
    assert explained.keys() == OPERATIONS.keys()
    for operation, words in explained.items():
        chosen = choose_backend(operation, device, "auto", dtype)
        assert words.startswith(f"{chosen} (")
        passed_over = OPERATIONS[operation][: OPERATIONS[operation].index(chosen)]
        assert all(f"not {name}: " in words for name in passed_over)


def test_what_is_passed_over_is_explained_with_the_reason():
    assert "compiled by Numba" in explain()["lif"]
    assert "not numba: it does not run on cuda" in explain(CUDA)["cfc"]
    assert "not onednn: it is for float32, not for float64" in explain(CPU, torch.float64)["linear"]


def test_the_choice_reaches_the_operation():
    current, decay = torch.ones(1, 3, 2, requires_grad=True), torch.ones(2)
    assert "lif" in lif(current, decay, backend="numba").spikes_BTS.grad_fn.name()
    assert "Stack" in lif(current, decay, backend="reference").spikes_BTS.grad_fn.name()


def test_a_backend_asked_for_by_name_refuses_the_types_it_is_not_for():
    x, weight = torch.ones(2, 3, dtype=torch.float64), torch.ones(4, 3, dtype=torch.float64)
    with pytest.raises(UserError, match=r'"onednn" for linear: it is for float32, not for float64'):
        linear(x, weight, backend="onednn")
    assert linear(x, weight).dtype == torch.float64


def test_a_backend_asked_for_by_name_refuses_a_call_it_cannot_take():
    x, weight = torch.ones(2, 3), torch.ones(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UserError, match=r'"onednn" for linear: autocast'):
            linear(x, weight, backend="onednn")
        assert linear(x, weight).dtype == torch.bfloat16
    assert linear(x, weight, backend="onednn").dtype == torch.float32


def test_a_folder_holds_only_backends_that_the_table_knows():
    files = {kind.file for kind in BACKENDS.values()}
    for operation in OPERATIONS:
        folder = Path(mambrane.__file__).parent / "ops" / operation
        backends = {path.stem for path in folder.glob("*_*pu.py")} | {"reference"}
        assert backends <= files


TRITON_BACKEND = """
def supports(y_BTE, *others):
    return "it is for at most 8 channels" if y_BTE.shape[2] > 8 else None

def gated_skip_triton(y_BTE, x_BTE, skip_E, gate_BTE):
    return "triton", y_BTE.device.type
"""

TRY_IT = """
import sys, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from mambrane.core.errors import UserError
from mambrane.ops import dispatch, explain, gated_skip
missing = sys.argv[1] or None
dispatch.BACKENDS["triton"] = dispatch.BACKENDS["triton"]._replace(find_missing=lambda device_type: missing)
on_cpu = gated_skip(torch.ones(1, 1, 8), torch.ones(1, 1, 8), torch.ones(8), torch.ones(1, 1, 8))
def is_read():
    return "mambrane.ops.gated_skip.triton_gpu" in sys.modules
print(type(on_cpu).__name__, is_read())
with FakeTensorMode():
    def call(channels, **options):
        x, skip = torch.ones(1, 1, channels, device="cuda"), torch.ones(channels, device="cuda")
        return gated_skip(x, x, skip, x, **options)
    print(isinstance(call(8), tuple), isinstance(call(9), torch.Tensor), is_read())
    try:
        call(9, backend="triton")
    except UserError as error:
        print(error.found)
print(explain(torch.device("cuda"))["gated_skip"])
"""


def run_with_a_triton_backend(folder, *, missing):
    """Run TRY_IT with a copy of the package that has one file more."""
    shutil.copytree(Path(mambrane.__file__).parent, folder / "mambrane", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mambrane/ops/gated_skip/triton_gpu.py").write_text(TRITON_BACKEND)
    run = subprocess.run(
        [sys.executable, "-c", TRY_IT, missing],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.splitlines(), run.stderr


def test_a_file_for_triton_is_found_on_a_gpu_and_not_read_on_a_cpu(tmp_path):
    lines, errors = run_with_a_triton_backend(tmp_path, missing="")
    assert lines == [
        "Tensor False",
        "True True True",
        'backend "triton" for gated_skip: it is for at most 8 channels',
        "triton (GPU kernels compiled by Triton; not numba: it does not run on cuda; "
        "a call it does not take runs the next backend)",
    ], errors


def test_where_triton_is_missing_its_file_is_never_read_and_passed_over_aloud(tmp_path):
    lines, errors = run_with_a_triton_backend(tmp_path, missing="the package is not installed")
    assert lines == [
        "Tensor False",
        "False True False",
        'backend "triton" for gated_skip: the package is not installed',
        "reference (plain PyTorch; not numba: it does not run on cuda; not triton: the package is not installed)",
    ], errors
