"""The kernels compile for GPUs that are not here, fit into their registers and load whole vectors."""

import os
import subprocess
import sys

import pytest

from benchmarks import gpu_compile
from benchmarks.environments import ROOT

pytest.importorskip("triton", reason="the package triton is not installed (requirements/gpu-test.txt)")


def check(*options):
    """Compile in a process of its own, in which Triton does not interpret; return what was complained of."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.gpu_compile", "--check", *options]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.startswith("| operation"), run.stderr
    return run.stderr.strip()


def test_neurons_compile_as_they_did_without_fused_products():
    assert check("--targets", "sm_90", "gfx942", "--only", "lif.forward") == ""


@pytest.mark.slow
def test_every_kernel_compiles_for_every_target_as_it_did():
    assert check() == ""


def make_row(**changes):
    numbers = {"registers": 40, "spills": 0, "shared_bytes": 0, "warps": 32, "instructions": 100}
    numbers |= {"per_token": 9.0, "fused": 0, "wide_loads": 4, "loads": 8}
    return gpu_compile.Compiled(operation="lif", kernel="forward", target="sm_90", **numbers | changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spills": 8}, "8 bytes of a thread do not fit"),
        ({"fused": 1}, "1 fused multiply-adds"),
        ({"wide_loads": 3}, "3 loads of 8 bytes and more, 4 before"),
        ({"registers": 41}, "41 registers, 40 before"),
    ],
)
def test_what_became_worse_is_complained_of(change, words):
    (complaint,) = gpu_compile.complaints([make_row(**change)], [make_row()])
    assert words in complaint
    assert gpu_compile.complaints([make_row()], [make_row()]) == []
    assert gpu_compile.complaints([make_row()], []) == ["lif.forward on sm_90: not among the results that are kept"]


def test_a_section_takes_the_place_of_the_one_before_and_leaves_the_others(tmp_path):
    page = tmp_path / "gpu.md"
    page.write_text("# On a GPU\n\nWords.\n\n## Compiled kernels\n\nold\n\n## More\n\nStays.\n")
    gpu_compile.write_section(page, "## Compiled kernels", "new")
    assert page.read_text() == "# On a GPU\n\nWords.\n\n## Compiled kernels\n\nnew\n\n## More\n\nStays.\n"
    gpu_compile.write_section(page, "## Last", "end")
    assert page.read_text().endswith("Stays.\n\n## Last\n\nend\n")
