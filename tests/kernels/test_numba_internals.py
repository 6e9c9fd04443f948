"""What the kernels take from inside other packages stands in one file, and names the versions it was tried with."""

import ast
from importlib.metadata import version
from pathlib import Path

import mambrane
from mambrane.kernels.numba_internals import TRIED_VERSIONS

PUBLIC = {"numba", "numba.extending"}
"""Modules of Numba that are promised to stay."""


def imports_of(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_only_one_file_imports_what_numba_and_llvmlite_do_not_promise():
    package = Path(mambrane.__file__).parent
    inside = {
        (file.name, module)
        for file in package.rglob("*.py")
        for module in imports_of(file)
        if module.split(".")[0] in ("numba", "llvmlite") and module not in PUBLIC | {"llvmlite"}
    }
    assert inside
    assert {name for name, _ in inside} == {"numba_internals.py"}


def test_the_installed_versions_are_among_those_tried():
    for package, tried in TRIED_VERSIONS.items():
        installed = version(package).split("+")[0]
        assert installed in tried, f"{package} {installed}: run the tests of kernels and operations, then name it there"
