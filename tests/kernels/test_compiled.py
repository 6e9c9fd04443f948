"""A kept kernel is compiled anew when anything that went into it has changed."""

import os
import subprocess
import sys
from pathlib import Path

KERNEL = """
from reference import FACTOR
from mambrane.kernels.compiled import kernel

@kernel()
def scaled(x):
    return FACTOR * x
"""


def result_of_new_process(folder: Path) -> list[str]:
    """Return what the kernel in the folder gives for 1, and whether it was read from the disk or had to be compiled."""
    code = """
from mambrane.kernels import compiler_process
from numba_cpu import scaled
with compiler_process.notices.to(lambda line: print(line.split()[0])):
    print(scaled(1.0))
"""
    # Python's own cache of reference.py looks at whole seconds; only Numba's is wanted here.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_a_changed_constant_of_the_reference_reaches_the_kernel(tmp_path):
    (tmp_path / "numba_cpu.py").write_text(KERNEL)
    (tmp_path / "reference.py").write_text("FACTOR = 2.0\n")
    assert result_of_new_process(tmp_path) == ["compiling", "2.0", "compiled"]
    assert result_of_new_process(tmp_path) == ["2.0"]
    (tmp_path / "reference.py").write_text("FACTOR = 3.0\n")
    assert result_of_new_process(tmp_path) == ["compiling", "3.0", "compiled"]
