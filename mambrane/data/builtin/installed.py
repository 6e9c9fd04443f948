"""Five real domains that every installation holds, so that the first run needs no download.

    python   sources of the standard library
    cpp      C++ headers that come with torch: code and comments, without generated files, includes and licences
    english  prose: licences, Python's reference, manuals, and long docstrings of required packages (none of Python's
             own, which the first domain holds)
    tables   numbers: font metrics and sample data of matplotlib, literal tables of matplotlib and torch
    markup   XML, HTML, SVG and the README (METADATA) of required packages; the reStructuredText of torch's reference

Only packages that mambrane requires are read, so two machines with equal versions have equal text. The packages
are found without being imported.
"""

import importlib.util
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.data.builtin.prose import read_docstrings, read_prose, read_topics
from mambrane.data.builtin.readers import (
    in_blocks,
    read_font_metrics,
    read_header,
    read_numeric_rows,
    read_readme,
    read_restructured_text,
    typeface_of,
)
from mambrane.data.documents import Reader, read_text
from mambrane.data.source_files import DomainSource, SourceFile

_LEFT_OUT = frozenset({"test", "tests", "idle_test", "__pycache__", "site-packages", "dist-packages", "_vendor"})
_DOCSTRING_PACKAGES = """
    numpy matplotlib networkx sympy numba fsspec pyparsing tyro fontTools mpmath PIL jinja2 werkzeug markdown
"""
_MANUALS = ("email/architecture.rst", "idlelib/README.txt", "idlelib/HISTORY.txt", "idlelib/TODO.txt")
_MARKUP_PACKAGES = ("torch", "torchgen", "matplotlib", "sympy", "numba", "tensorboard", "numpy")
_MARKUP_SUFFIXES = frozenset({".xml", ".xsl", ".html", ".svg", ".rst", ".md"})
_REFERENCE_OF_TORCH = ("nn", "distributions")
_REQUIRED_PACKAGES = """
    torch numpy numba safetensors tokenizers jaxtyping rich tyro matplotlib tensorboard sympy networkx
    jinja2 fsspec filelock fonttools pyparsing pillow contourpy kiwisolver cycler mpmath markdown werkzeug pygments
    llvmlite absl-py grpcio protobuf packaging typing_extensions
"""

_TABLE_BLOCK_BYTES = 2048
_MARKUP_BLOCK_BYTES = 4096
_LICENCE = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)


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


def _python_files() -> Iterator[SourceFile]:
    # The encodings are tables written as Python, an eighth of the domain; the texts of pydoc_data are English.
    library = Path(sysconfig.get_path("stdlib"))
    yield from _files(
        library, "python", {".py"}, read_text, leave_out=_LEFT_OUT | {"encodings", "lib2to3", "pydoc_data"}
    )


def _cpp_files() -> Iterator[SourceFile]:
    headers = _package("torch") / "include"
    leave_out = _LEFT_OUT | {"ops", "generated"}
    yield from _files(headers, "torch/include", {".h", ".hpp", ".cuh"}, read_header, leave_out=leave_out)


def _english_files() -> Iterator[SourceFile]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in (library / name for name in _MANUALS):
        if path.is_file():
            yield SourceFile(path, f"manuals/{path.relative_to(library).as_posix()}", read_prose)
    topics = library / "pydoc_data" / "topics.py"
    if topics.is_file():
        yield SourceFile(topics, "manuals/topics.py", read_topics)
    yield from _licence_files(library)
    for package in _DOCSTRING_PACKAGES.split():
        yield from _files(_package(package), package, {".py"}, read_docstrings)


def _licence_files(library: Path) -> Iterator[SourceFile]:
    # They quote each other, so all of them are learned, or none.
    if (library / "LICENSE.txt").is_file():
        yield SourceFile(library / "LICENSE.txt", "licences/python/LICENSE.txt", read_prose, kin="licences")
    for name in _REQUIRED_PACKAGES.split():
        readme = _metadata_path(name)
        if readme is None:
            continue
        for path in sorted(readme.parent.rglob("*")):
            if _LICENCE.match(path.name) and path.is_file():
                relative = f"licences/{name}/{path.relative_to(readme.parent).as_posix()}"
                yield SourceFile(path, relative, read_prose, kin="licences")


def _table_files() -> Iterator[SourceFile]:
    matplotlib = _package("matplotlib")
    for file in _files(matplotlib / "mpl-data" / "fonts", "matplotlib/fonts", {".afm"}, read_font_metrics):
        yield replace(file, kin=typeface_of(file.path))
    for file in _files(matplotlib / "mpl-data" / "sample_data", "matplotlib/sample_data", {".csv"}, read_text):
        yield _in_blocks(file, _TABLE_BLOCK_BYTES)
    literal_tables = [*sorted(matplotlib.glob("_cm*.py")), _package("torch") / "sparse" / "_triton_ops_meta.py"]
    for path in literal_tables:
        if path.is_file():
            yield _in_blocks(SourceFile(path, f"literals/{path.name}", read_numeric_rows), _TABLE_BLOCK_BYTES)


def _markup_files() -> Iterator[SourceFile]:
    for package in _MARKUP_PACKAGES:
        for file in _files(_package(package), package, _MARKUP_SUFFIXES, read_text):
            if not _LICENCE.match(file.path.name):
                yield _in_blocks(file, _MARKUP_BLOCK_BYTES)
    for name in _REQUIRED_PACKAGES.split():
        path = _metadata_path(name)
        if path is not None:
            yield _in_blocks(SourceFile(path, f"readme/{name}", read_readme), _MARKUP_BLOCK_BYTES)
    for name in _REFERENCE_OF_TORCH:
        yield from _files(_package("torch") / name, f"reference/{name}", {".py"}, read_restructured_text)


def _in_blocks(file: SourceFile, block_bytes: int) -> SourceFile:
    """Return a file of many entries so that some of them can be held out, because there is no second of its kind."""
    return replace(file, read=in_blocks(file.read, block_bytes), has_own_documents=True)


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
