"""What a source distribution holds: enough to test and to read the project without its repository."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Paths in the source distribution, below its folder."""
    folder = tmp_path_factory.mktemp("sdist")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("not a checkout of git")
    source = folder / "source"
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=source, capture_output=True, text=True, check=True
    )
    with tarfile.open(folder / built.stdout.split()[-1]) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_a_source_distribution_holds_tests_docs_and_constraints(names):
    wanted = {"tests/test_api.py", "tests/app/flags.txt", "docs/api.md", "constraints.txt", "requirements/test.txt"}
    wanted |= {"CITATION.cff", "CHANGELOG.md", "scripts/cli.py", "mambrane/py.typed", "mambrane/__init__.pyi"}
    assert wanted - names == set()


def test_a_source_distribution_holds_nothing_that_was_compiled(names):
    assert [name for name in names if name.endswith((".pyc", ".nbi", ".nbc"))] == []
