"""The process that compiles: isolated, and its end is read and said."""

import pytest

from tests.kernels.user_kernels import KERNEL, files_in, run


def test_modules_in_the_working_folder_are_not_executed(folder, tmp_path):
    cwd, cache = tmp_path / "cwd", tmp_path / "cache"
    cwd.mkdir()
    for name in ("random", "pickle", "struct", "scipy", "numba", "torch", "mambrane", "sitecustomize"):
        (cwd / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({name!r})")
    # As for the installed command: this process does not look in the working folder; the one it starts must not either.
    found = run(folder, cache=cache, cwd=cwd, PYTHONSAFEPATH="1")
    assert found.stdout == "9.0\n", found.stderr
    assert not (tmp_path / "executed").exists()
    assert files_in(cache)


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "sys.exit('no more room')"])
def test_the_end_of_the_compiling_process_is_read_and_said(folder, tmp_path, end):
    (tmp_path / "ends.py").write_text(
        f"import os, sys\nfrom mambrane.kernels import compiler_process\n{KERNEL}\n"
        f"if compiler_process.is_this_process():\n    {end}\n"
    )
    program = """
import ends
from mambrane.core.errors import UserError
try:
    ends.scaled(2.0)
except UserError as error:
    print(error)
"""
    found = run(tmp_path, program, cache=tmp_path / "cache")
    wanted = {
        "os._exit(3)": "exit status 3",
        "os.kill(os.getpid(), 9)": "SIGKILL",
        "sys.exit('no more room')": "no more room",
    }
    assert wanted[end] in found.stdout, found.stdout + found.stderr
    assert "disk" not in found.stdout
