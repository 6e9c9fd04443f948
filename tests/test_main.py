"""`python -m mambrane` is the program `mambrane`."""

import subprocess
import sys

import mambrane


def test_the_module_is_the_program():
    found = subprocess.run(
        [sys.executable, "-m", "mambrane", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == f"{mambrane.__version__}\n"
    assert found.stderr == ""
