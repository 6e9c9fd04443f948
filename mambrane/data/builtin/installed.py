"""Five real domains that every installation holds, so that the first run needs no download.

    python   sources of the standard library
    cpp      C++ headers that come with torch, without the generated ones (one boilerplate file an operator)
    english  prose of the docstrings of the standard library and of packages that mambrane requires
    tables   numbers: font metrics and sample data of matplotlib, literal tables of matplotlib and torch
    markup   YAML, XML, HTML, SVG, JSON and the README (METADATA) of required packages

Only packages that mambrane requires are read, so two machines with equal versions have equal text. The packages
are found without being imported.
"""

import importlib.util
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.data.builtin.prose import read_prose
from mambrane.data.documents import Reader, check_utf8, cut_at_line_end, read_text
from mambrane.data.source_files import DomainSource, SourceFile

_LEFT_OUT = frozenset({"test", "tests", "idle_test", "__pycache__", "site-packages", "dist-packages", "_vendor"})
_PROSE_PACKAGES = ("torch", "numpy", "matplotlib", "networkx", "sympy")
_MARKUP_PACKAGES = ("torch", "torchgen", "matplotlib", "sympy", "numba", "tensorboard", "numpy")
_MARKUP_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".xml", ".xsl", ".html", ".svg", ".rst", ".md", ".toml"})
_README_PACKAGES = """
    torch numpy numba safetensors tokenizers jaxtyping rich tyro matplotlib tensorboard sympy networkx
    jinja2 fsspec filelock fonttools pyparsing pillow contourpy kiwisolver cycler mpmath markdown werkzeug pygments
"""
_NUMERIC_ROW = re.compile(rb"^[\s\[\](){},:;.0-9eE+-]*[0-9][\s\[\](){},:;.0-9eE+-]*$")


def builtin_sources() -> list[DomainSource]:
    """Return the five built-in domains, in the order of the tasks."""
    finders: dict[str, Callable[[], Iterator[SourceFile]]] = {
        "python": _python_files,
        "cpp": _cpp_files,
        "english": _english_files,
        "tables": _table_files,
        "markup": _markup_files,
    }
    sources = []
    for name, find in finders.items():
        files = tuple(sorted(find(), key=lambda file: file.relative))
        if not files:
            raise UserError(
                f"built-in domain {name}: none of its files is installed here",
                wanted="Python with its standard library as source files, torch and matplotlib from wheels",
                way_out="--data PATH with your own text",
            )
        sources.append(DomainSource(name, files, skips_bad_files=True))
    return sources


def read_numeric_rows(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the lines of a source file that hold numbers only: the body of its literal tables."""
    rows = [line.strip() + b"\n" for line in path.read_bytes().splitlines() if _NUMERIC_ROW.match(line)]
    text = b"".join(rows)
    yield cut_at_line_end(text, limit) if limit else text


def read_readme(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the long description of a package's METADATA: what follows the first empty line."""
    text = path.read_bytes().partition(b"\n\n")[2]
    check_utf8(text, str(path))
    yield cut_at_line_end(text, limit) if limit else text


def _python_files() -> Iterator[SourceFile]:
    # The encodings are tables written as Python; they would be an eighth of the domain.
    library = Path(sysconfig.get_path("stdlib"))
    yield from _files(library, "python", {".py"}, read_text, leave_out=_LEFT_OUT | {"encodings", "lib2to3"})


def _cpp_files() -> Iterator[SourceFile]:
    headers = _package("torch") / "include"
    yield from _files(headers, "torch/include", {".h", ".hpp", ".cuh"}, read_text, leave_out=_LEFT_OUT | {"ops"})


def _english_files() -> Iterator[SourceFile]:
    yield from _files(Path(sysconfig.get_path("stdlib")), "python", {".py"}, read_prose)
    for package in _PROSE_PACKAGES:
        yield from _files(_package(package), package, {".py"}, read_prose)


def _table_files() -> Iterator[SourceFile]:
    matplotlib = _package("matplotlib")
    yield from _files(matplotlib / "mpl-data" / "fonts", "matplotlib/fonts", {".afm"}, read_text)
    yield from _files(matplotlib / "mpl-data" / "sample_data", "matplotlib/sample_data", {".csv"}, read_text)
    literal_tables = [*sorted(matplotlib.glob("_cm*.py")), _package("torch") / "sparse" / "_triton_ops_meta.py"]
    for path in literal_tables:
        if path.is_file():
            yield SourceFile(path, f"literals/{path.name}", read_numeric_rows)


def _markup_files() -> Iterator[SourceFile]:
    for package in _MARKUP_PACKAGES:
        yield from _files(_package(package), package, _MARKUP_SUFFIXES, read_text)
    for name in _README_PACKAGES.split():
        path = _metadata_path(name)
        if path is not None:
            yield SourceFile(path, f"readme/{name}", read_readme)


def _files(
    root: Path, prefix: str, suffixes: set[str] | frozenset[str], read: Reader, leave_out: frozenset[str] = _LEFT_OUT
) -> Iterator[SourceFile]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in leave_out)
        here = f"{prefix}/{Path(folder).relative_to(root).as_posix()}".removesuffix("/.")
        for name in names:
            if os.path.splitext(name)[1] in suffixes:
                yield SourceFile(Path(folder, name), f"{here}/{name}", read)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return Path("/nonexistent") / name
    return Path(spec.origin).parent


def _metadata_path(name: str) -> Path | None:
    """Return the METADATA file of a distribution, without reading the long list of its files."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    # The folder's name is normalized by some builders (pyyaml) and not by others (PyYAML).
    spellings = {distribution.metadata["Name"], name}
    spellings |= {re.sub(r"[-_.]+", "_", spelling) for spelling in spellings}
    folders = (f"{spelling}-{distribution.version}.dist-info" for spelling in sorted(spellings | {name.lower()}))
    paths = (Path(str(distribution.locate_file(folder))) / "METADATA" for folder in folders)
    return next((path for path in paths if path.is_file()), None)
