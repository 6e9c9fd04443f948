"""Kept kernels are checked, made again where they are damaged, and the same machine code whoever compiled them."""

import os
import subprocess
import sys

import pytest

from mambrane.kernels import kernel_cache
from mambrane.kernels.compiled import kernel

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels_of_a_user.py").write_text(KERNEL)
    return folder


def files_in(cache):
    return sorted(cache.rglob("*scaled*.kernel"))


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
