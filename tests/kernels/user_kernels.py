"""Kernels of a user, and programs in new processes that call them."""

import os
import subprocess
import sys

import pytest

KERNEL = """
from mambrane.kernels.compiled import kernel

@kernel()
def part(x):
    return 3.0 * x + 1.0

@kernel()
def scaled(x):
    return part(x) + x
"""

CALL = "from kernels_of_a_user import scaled; print(scaled(2.0), flush=True)"


def run(folder, program=CALL, *, cache, cwd=None, **environment):
    """Run a program in a new process that finds the kernels of a folder."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    variables |= {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]), **environment}
    if cache is not None:
        variables["NUMBA_CACHE_DIR"] = str(cache)
    return subprocess.run(
        [sys.executable, "-c", program], env=variables, cwd=cwd, capture_output=True, text=True, check=False
    )


def files_in(cache):
    return sorted(cache.rglob("*scaled*.kernel"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels_of_a_user.py").write_text(KERNEL)
    return folder
