"""A process of its own that compiles kernels for this one: isolated from the working folder, and its end is read.

It starts when the first kernel is missing, compiles what it is asked for, and ends with this process. It runs as
`python -I`: neither the working folder nor PYTHONPATH is searched for modules, so that a file of the user that is
called as a module of the standard library is not executed. What this process imports Numba, torch and Mambrane from
comes last on its path.

A kernel in `__main__` or inside a function cannot be imported there; this process compiles those, and keeps none.
"""

import atexit
import importlib
import io
import logging
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mambrane.core.errors import UserError
from mambrane.kernels.numba_internals import dumps

_KEPT_VARIABLES: tuple[str, ...] = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "LOCALAPPDATA", "XDG_CACHE_HOME")
_KEPT_VARIABLES += ("TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_PROGRAM = "import sys; sys.path += {folders!r}; from mambrane.kernels import compiler_process as c; c.serve()"

_log = logging.getLogger("mambrane.kernels")
_is_this_process = False


class Notices:
    """Says, once each, what a user should know: that kernels are compiled, damaged or cannot be kept."""

    def __init__(self) -> None:
        self._announce: Callable[[str], None] = _log.warning
        self._start_s: float | None = None
        self._said: set[str] = set()

    @contextmanager
    def to(self, announce: Callable[[str], None]) -> Iterator[None]:
        """Hand what is said inside the block to a function, and say how long compiling took; end the process then."""
        before, self._announce, self._start_s = self._announce, announce, None
        try:
            yield
            if self._start_s is not None:
                announce(f"compiled CPU kernels in {time.perf_counter() - self._start_s:.0f} s")
        finally:
            self._announce, self._start_s = before, None
            end()

    def compiling(self) -> None:
        """Kernels have to be compiled."""
        if self._start_s is None:
            self._start_s = time.perf_counter()
            self._announce("compiling CPU kernels, once on this machine (up to a minute)")

    def damaged(self, path: Path, reason: str) -> None:
        """A kernel on the disk cannot be used."""
        self._say(f"a compiled CPU kernel is damaged and is made again: {path} ({reason})")

    def cannot_keep(self, reason: str) -> None:
        """A compiled kernel cannot be written."""
        self._say(f"the CPU kernels cannot be kept on disk, every process compiles them for itself ({reason})")

    def _say(self, message: str) -> None:
        if message not in self._said and not _is_this_process:
            self._said.add(message)
            self._announce(message)


notices = Notices()


def is_this_process() -> bool:
    """Return whether this is the process that compiles for another."""
    return _is_this_process


def can_compile(function: Callable) -> bool:
    """Return whether another process can compile the function: it can be imported, and this is not that process."""
    return not _is_this_process and function.__module__ != "__main__" and "<locals>" not in function.__qualname__


def compile_elsewhere(function: Callable, signature: bytes) -> bytes:
    """Return the compiled form of a function for pickled argument types, pickled.

    Raises:
        UserError: the process ended, or could not compile it.
    """
    notices.compiling()
    return _compiler_of_this_process().ask(function, signature)


class _Compiler:
    """The other process, and the pipe to it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._errors = _open_scratch_file()
        self._lock = threading.Lock()
        program = _PROGRAM.format(folders=_package_folders())
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", program],
            cwd=Path(__file__).parent,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # A Ctrl-C reaches this process alone, which ends the other. Windows has groups in place of sessions.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def ask(self, function: Callable, signature: bytes) -> bytes:
        """Return what the process answers."""
        folder = Path(function.__code__.co_filename).parents[function.__module__.count(".")]
        with self._lock:
            assert self._process.stdin is not None, "it is a pipe"
            assert self._process.stdout is not None, "it is a pipe"
            try:
                _send(self._process.stdin, dumps((str(folder), function.__module__, function.__qualname__, signature)))
                answer = _receive(self._process.stdout)
            except (BrokenPipeError, EOFError):
                self._say_how_it_ended()
            except BaseException:
                # Interrupted in the middle of an answer: what comes next would belong to this question.
                self.end()
                raise
        has_compiled, content = pickle.loads(answer)
        if not has_compiled:
            raise UserError(
                f"the CPU kernel {function.__module__}.{function.__qualname__} could not be compiled: {content}",
                wanted="versions of numba and llvmlite that Mambrane was tried with",
                way_out="install those of constraints.txt",
            )
        return content

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            try:
                if stream is not None:
                    stream.close()
            except OSError:
                continue

    def _say_how_it_ended(self) -> None:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.end()
        how = f"exit status {status}" if status >= 0 else f"signal {_name_of_signal(-status)}"
        raise UserError(
            f"the process that compiles the CPU kernels ended with {how}: {lines[-1] if lines else 'it said nothing'}",
            wanted="a process that compiles them to the end",
            way_out="free memory if the system stopped it; else install numba and llvmlite as in constraints.txt",
        )


def _open_scratch_file() -> IO[bytes]:
    """Return a file for what the process says; where no disk has room, what it says is lost."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "r+b", buffering=0)


def _name_of_signal(number: int) -> str:
    """Return the name of a signal; those that programs are free to use have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


_compiler: _Compiler | None = None


def _compiler_of_this_process() -> _Compiler:
    global _compiler
    # A forked child shares the pipe of its parent, and must not use it.
    if _compiler is None or _compiler.pid != os.getpid() or _compiler._process.poll() is not None:
        _compiler = _Compiler()
    return _compiler


@atexit.register
def end() -> None:
    """End the compiling process, if this process has started one."""
    global _compiler
    if _compiler is not None and _compiler.pid == os.getpid():
        _compiler.end()
    _compiler = None


def _package_folders() -> list[str]:
    """Return where Mambrane, torch, Numba and what they need are imported from."""
    # The folder of Mambrane comes last: a checkout holds what its user puts there, a file called numba.py perhaps.
    names = ("torch", "numba", "llvmlite", "numpy", "mambrane")
    files = [sys.modules[name].__file__ for name in names if name in sys.modules]
    return list(dict.fromkeys(str(Path(file).absolute().parents[1]) for file in files if file))


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith("NUMBA_")}
    if kept.get("NUMBA_CACHE_DIR"):
        # Where the working folder was deleted there is no such path, and this process keeps nothing either.
        with suppress(FileNotFoundError):
            kept["NUMBA_CACHE_DIR"] = os.path.abspath(kept["NUMBA_CACHE_DIR"])
    return kept | {"OMP_NUM_THREADS": "1"}


def serve() -> None:
    """Compile what is asked for on standard input until it closes; what is printed goes to standard error."""
    global _is_this_process
    _is_this_process = True
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers:
        while True:
            try:
                request = _receive(sys.stdin.buffer)
            except EOFError:
                return
            _send(answers, pickle.dumps(_answer(request)))


def _answer(request: bytes) -> tuple[bool, object]:
    folder, module_name, name, signature = pickle.loads(request)
    try:
        if folder not in sys.path:
            sys.path.append(folder)
        kernel = getattr(importlib.import_module(module_name), name)
        types = pickle.loads(signature)
        kernel.compile(types)
        return True, kernel._cache.payloads[repr(types)]
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def _send(stream: IO[bytes] | io.BufferedIOBase, content: bytes) -> None:
    stream.write(struct.pack(">Q", len(content)) + content)
    stream.flush()


def _receive(stream: IO[bytes] | io.BufferedIOBase) -> bytes:
    """Return the next message.

    Raises:
        EOFError: the other side has closed the stream.
    """
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    content = stream.read(struct.unpack(">Q", head)[0])
    if len(content) < struct.unpack(">Q", head)[0]:
        raise EOFError
    return content
