"""Durable writes: after a crash a file is whole or it is not there; an error says what to do about it.

    new file      open, write, fsync                          then fsync of its folder
    replacement   write aside in the same folder, fsync, rename over the old one, fsync of the folder

A rename is atomic, but only fsync makes it last: the contents are synced before the rename and the folder after it.
Windows cannot sync a folder: there a power cut may take back the last rename, and the file is the old one, whole.
Source: POSIX.1-2017, rename and fsync; T. S. Pillai et al., All File Systems Are Not Created Equal, OSDI 2014.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from mambrane.core.errors import UserError

Chunk = bytes | memoryview
"""A piece of a file; a memoryview shows a tensor's memory without copying it."""

BLOCK_BYTES = 1 << 20
"""Bytes of one write: smaller chunks are gathered up to it, larger ones hashed and written in such pieces."""

BINARY = getattr(os, "O_BINARY", 0)
"""Flag for os.open; Windows alone has it, and without it alters every line end that is written or read."""


class FileRecord(NamedTuple):
    """What a written file must look like when it is read again."""

    num_bytes: int
    sha256: str


class StorageError(UserError):
    """The disk or its permissions refused; what was saved before is untouched."""


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names the action, the path and the way out."""
    try:
        yield
    except OSError as error:
        wanted, way_out = _advice(error.errno, path)
        raise StorageError(f"{action} {path}: {error.strerror or error}", wanted=wanted, way_out=way_out) from error


def write_new_file(path: Path, chunks: Iterable[Chunk]) -> FileRecord:
    """Write a file that must not exist yet and sync it; return its size and SHA-256."""
    digest = hashlib.sha256()
    num_bytes = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    try:
        for block in _blocks(chunks):
            digest.update(block)
            num_bytes += len(block)
            _write_all(descriptor, block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return FileRecord(num_bytes, digest.hexdigest())


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step; see atomic_write_chunks."""
    atomic_write_chunks(path, [content])


def atomic_write_chunks(path: Path, chunks: Iterable[Chunk]) -> None:
    """Replace a file in one step: whoever reads it, at any time or after a crash, finds the old or the new one whole.

    Raises:
        StorageError: the disk refused; the old file is untouched.
    """
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with storage_errors("writing", path):
        with suppress(FileNotFoundError):
            os.unlink(aside)
        try:
            write_new_file(aside, chunks)
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(aside)
            raise
        sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Replace a text file in one step, as UTF-8; see atomic_write_bytes."""
    atomic_write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: files created, renamed or removed in it; Windows has no call for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each made to last; an existing one is fine."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder with everything in it; links are removed, not followed."""
    for name in os.listdir(folder):
        entry = folder / name
        if entry.is_dir() and not entry.is_symlink():
            remove_folder(entry)
        else:
            os.unlink(entry)
    os.rmdir(folder)


def require_kind(path: Path, kind: Literal["file", "folder"]) -> None:
    """Refuse something else in the place of a file or a folder; nothing there is fine, and so is a link to the kind.

    Raises:
        StorageError: there is something else.
    """
    try:
        mode = os.lstat(path).st_mode
    # Not there, or not to be looked at: whoever opens it says so.
    except OSError:
        return
    found = _name_of_kind(mode)
    if stat.S_ISLNK(mode):
        try:
            found = _name_of_kind(os.stat(path).st_mode)
        except OSError:
            found = "link that leads nowhere"
    if found != kind:
        raise StorageError(
            f"{path} is a {found}",
            wanted=f"a {kind}, or nothing",
            way_out="move it away, or choose another --output-dir",
        )


def _name_of_kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def require_space(folder: Path, num_bytes: int) -> None:
    """Refuse a write that the disk cannot hold, before it begins.

    Raises:
        StorageError: less than `num_bytes` are free for this user.
    """
    usage = shutil.disk_usage(folder)
    # Some network file systems report no size at all: there only the write itself can tell.
    if usage.total and usage.free < num_bytes:
        wanted, way_out = _advice(errno.ENOSPC, folder)
        found = f"{folder}: {num_bytes:,} bytes to write, {usage.free:,} bytes free"
        raise StorageError(found, wanted=wanted, way_out=way_out)


def _blocks(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the same bytes in pieces of about BLOCK_BYTES: few system calls, and no copy of a large chunk."""
    gathered = bytearray()
    for chunk in chunks:
        if len(gathered) + len(chunk) <= BLOCK_BYTES:
            gathered += chunk
            continue
        if gathered:
            yield bytes(gathered)
            gathered.clear()
        view = memoryview(chunk)
        for start in range(0, len(view), BLOCK_BYTES):
            yield view[start : start + BLOCK_BYTES]
    if gathered:
        yield bytes(gathered)


def _write_all(descriptor: int, block: Chunk) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _advice(number: int | None, path: Path) -> tuple[str, str]:
    """Return what was wanted and the way out for an errno."""
    again = "then run the same command again: it resumes from the newest checkpoint"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "enough free space", f"free some space on the disk of {path}, or lower --keep-checkpoints; {again}"
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "a folder that this user may write to", f"correct the permissions of {path}; {again}"
    return "a disk that reads and writes without errors", f"look at the system log for the disk of {path}; {again}"
