"""Keeps compiled kernels on disk, checked, and lets every process run the machine code that was kept.

A process that compiles a kernel afterwards calls the parts that it compiled on the way; one that reads the kernel calls
the copies that were linked into it. The two round differently in the last bit. So no process runs what it compiled:
a process of its own compiles (compiler_process.py), and its result is loaded as if it came from the disk.

Numba's own cache has an index and data files that it trusts: a cut one ends every later call in EOFError (numba issue
10434), and two processes that compile at once can exchange their kernels. Here a kernel is one file, named by all that
went into it, with the SHA-256 of its content in front; a file that does not fit its hash is compiled again.
"""

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mambrane.core.ordinary_files import read_ordinary
from mambrane.kernels import compiler_process
from mambrane.kernels.numba_internals import CompileResult, CompileResultCacheImpl, dumps

_HASH_BYTES = 32


class KernelCache:
    """What Numba asks for a compiled form of one function; see `numba.core.caching` for the calls."""

    def __init__(self, function: Callable, stamp: str) -> None:
        """Prepare the cache of a function; `stamp` changes with any source that goes into it."""
        self._function, self._stamp = function, stamp
        self._folder: Path | None = None
        self._is_looked_for = False
        self.payloads: dict[str, bytes] = {}  # by argument types; in the compiling process alone

    @property
    def folder(self) -> Path | None:
        """Folder of the files; None if none can be written."""
        return self._find_folder()

    @property
    def cache_path(self) -> str:
        """Folder of the files."""
        return str(self._find_folder())

    def load_overload(self, signature: object, target_context: Any) -> CompileResult | None:  # noqa: ANN401 -- Numba's own
        """Return the kernel for argument types, from the disk or from the compiling process."""
        target_context.refresh()
        path = self._path_of(signature, target_context)
        payload = _read(path) if path else None
        if payload and compiler_process.is_this_process():
            self.payloads[repr(signature)] = payload
        result = _rebuilt(payload, target_context, path) if payload else None
        if result is None and compiler_process.can_compile(self._function):
            payload = compiler_process.compile_elsewhere(self._function, dumps(signature))
            self._keep(path, payload)
            result = _rebuilt(payload, target_context, path)
        return result

    def save_overload(self, signature: object, result: Any) -> None:  # noqa: ANN401 -- a CompileResult of Numba
        """Keep a kernel that this process compiled; only the compiling process has any worth keeping."""
        if compiler_process.is_this_process():
            payload = self.payloads[repr(signature)] = dumps(result._reduce())
            self._keep(self._path_of(signature, result.target_context), payload)

    def enable(self) -> None:
        """Part of Numba's protocol; the cache is always on."""

    disable = flush = enable

    def _keep(self, path: Path | None, payload: bytes) -> None:
        if path is None:
            compiler_process.notices.cannot_keep("no folder for them can be written")
            return
        try:
            _write(path, payload)
            # Forms of an older source are never asked for again.
            for file in path.parent.glob(f"{self._base_name()}.*.kernel"):
                if not file.name.startswith(f"{self._base_name()}.{self._stamp[:12]}."):
                    file.unlink(missing_ok=True)
        except OSError as error:
            compiler_process.notices.cannot_keep(f"{error.strerror or error}: {path.parent}")

    def _path_of(self, signature: object, target_context: Any) -> Path | None:  # noqa: ANN401 -- Numba's own
        folder = self._find_folder()
        key = repr((self._stamp, signature, target_context.codegen().magic_tuple())).encode()
        name = f"{self._base_name()}.{self._stamp[:12]}.{hashlib.sha256(key).hexdigest()[:24]}.kernel"
        return folder / name if folder else None

    def _base_name(self) -> str:
        name = f"{Path(self._function.__code__.co_filename).stem}.{self._function.__qualname__}"
        # A function inside another is called outer.<locals>.inner, and Windows has no such file names.
        return name.replace("<", "(").replace(">", ")")

    def _find_folder(self) -> Path | None:
        """Return NUMBA_CACHE_DIR, __pycache__ beside the source or the user's cache, or None if none can be written."""
        if not self._is_looked_for:
            # Numba raises RuntimeError where it finds no folder.
            with suppress(RuntimeError, OSError):
                self._folder = Path(CompileResultCacheImpl(self._function).locator.get_cache_path()).absolute()
            self._is_looked_for = True
        return self._folder


def _read(path: Path) -> bytes | None:
    """Return the checked content of a file, None if there is none; a damaged file is noted."""
    try:
        content = read_ordinary(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        compiler_process.notices.damaged(path, str(error.strerror))
        return None
    digest, payload = content[:_HASH_BYTES], content[_HASH_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        compiler_process.notices.damaged(path, "its content does not fit its hash")
        return None
    return payload


def _rebuilt(payload: bytes, target_context: object, path: Path | None) -> CompileResult | None:
    try:
        return CompileResult._rebuild(target_context, *pickle.loads(payload))
    except (pickle.UnpicklingError, AttributeError, ImportError, EOFError, TypeError, ValueError) as error:
        if path is None:
            raise
        compiler_process.notices.damaged(path, f"{type(error).__name__}: {error}")
        return None


def _write(path: Path, payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
