"""`python -m mambrane` is the program `mambrane`."""

import subprocess
import sys

import mambrane


def test_the_module_executes_no_file_of_the_working_folder_in_place_of_one_of_the_library(tmp_path):
    for name in ("random", "shlex", "tempfile", "tyro", "rich", "signal", "dataclasses"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the {name} of the user')")
    found = subprocess.run(
        [sys.executable, "-m", "mambrane", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{mambrane.__version__}\n", "")


def test_the_module_is_the_program():
    found = subprocess.run(
        [sys.executable, "-m", "mambrane", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == f"{mambrane.__version__}\n"
    assert found.stderr == ""
