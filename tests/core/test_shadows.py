"""A file of the user that stands in for a module is found by its name, and told when something fails."""

import os
import subprocess
import sys

import pytest

from mambrane.core.shadows import shadowing_files


def test_only_files_named_as_modules_in_folders_of_pythonpath_are_found(tmp_path, monkeypatch):
    for name in ("random.py", "torch.py", "mine.py", "numba.pyx", "struct.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert shadowing_files() == []
    monkeypatch.syspath_prepend(str(tmp_path))
    assert shadowing_files() == [str(tmp_path / "random.py"), str(tmp_path / "torch.py")]


@pytest.mark.parametrize("name", ["random", "tyro"])
def test_what_fails_because_of_such_a_file_is_told_in_a_sentence(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("")
    found = subprocess.run(
        [sys.executable, "-m", "mambrane", "train", "--help"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert f"error {tmp_path / name}.py: Python imports this" in found.stderr
    assert "Traceback" not in found.stderr
