"""Kept kernels are checked, made again where they are damaged, and the same machine code whoever compiled them."""

import os
import subprocess
import sys

import pytest

from mambrane.kernels import kernel_cache
from mambrane.kernels.compiled import kernel
from tests.kernels.user_kernels import CALL, KERNEL, files_in, run


@pytest.fixture(scope="module")
def kept(folder, tmp_path_factory):
    """Return the content of a whole cache file."""
    cache = tmp_path_factory.mktemp("kept")
    found = run(folder, cache=cache)
    assert found.stdout == "9.0\n", found.stderr
    (file,) = files_in(cache)
    return file.relative_to(cache), file.read_bytes()


def test_a_whole_file_is_read_and_nothing_is_said(folder, kept, tmp_path):
    name, content = kept
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(content)
    found = run(folder, cache=tmp_path)
    assert (found.stdout, found.stderr) == ("9.0\n", "")


@pytest.mark.parametrize("damage", ["empty", "cut", "short", "garbage", "one bit", "a folder"])
def test_a_damaged_file_is_said_and_made_again(folder, kept, tmp_path, damage):
    name, content = kept
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    contents = {
        "empty": b"",
        "cut": content[:-9],
        "short": content[:7],
        "garbage": b"\x80\x04" * 99,
        "one bit": flipped,
    }
    (tmp_path / name).parent.mkdir()
    if damage == "a folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(contents[damage])
    found = run(folder, cache=tmp_path)
    assert found.stdout == "9.0\n", found.stderr
    assert "damaged and is made again" in found.stderr
    assert str(name) in found.stderr
    assert "Traceback" not in found.stderr
    if damage != "a folder":
        assert (tmp_path / name).read_bytes()[32:100] == content[32:100]
        assert run(folder, cache=tmp_path).stderr == ""


def test_where_nothing_can_be_kept_it_is_said_and_the_kernel_computes(folder, tmp_path):
    # Every place that Numba looks for is a file in place of a folder, as for a home that does not exist.
    blocked = tmp_path / "file"
    blocked.write_text("")
    module = tmp_path / "modules"
    module.mkdir()
    (module / "kernels_of_a_user.py").write_text(KERNEL)
    (module / "__pycache__").write_text("")
    found = run(
        module,
        cache=blocked / "cache",
        HOME=str(blocked / "home"),
        XDG_CACHE_HOME=str(blocked),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert found.stdout == "9.0\n", found.stderr
    assert "cannot be kept on disk" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_full_disk_is_said_and_the_kernel_computes(folder, tmp_path):
    full = """
import pathlib, tempfile
from mambrane.kernels import kernel_cache
def mkstemp(**_):
    raise OSError(28, "No space left on device")
kernel_cache.tempfile = type("", (), {"mkstemp": staticmethod(mkstemp)})
"""
    found = run(folder, full + CALL, cache=tmp_path)
    assert found.stdout == "9.0\n", found.stderr
    assert "No space left on device" in found.stderr
    assert "Traceback" not in found.stderr


def test_two_processes_that_compile_at_once_both_compute(folder, tmp_path):
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    both = [
        subprocess.Popen([sys.executable, "-c", CALL], env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == ["9.0\n", "9.0\n"]
    assert len(files_in(tmp_path)) == 1
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".kernel"]


def test_the_file_of_a_kernel_inside_a_function_has_a_name_that_windows_takes(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    asked = []
    monkeypatch.setattr(kernel_cache, "_read", lambda path: asked.append(path.name))

    @kernel()
    def inner(x):
        return x + 1.0

    assert inner(1.0) == 2.0
    assert asked
    assert [name for name in asked if set(name) & set('<>:"/\\|?*')] == []
