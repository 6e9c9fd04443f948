"""Cache folders that are either as they were written or made again.

A folder is written under a temporary name, synced and renamed, with a list of its files in files.json: the size and
SHA-256 of each, the name of the folder, and its own SHA-256. Whoever opens the folder has every byte of it checked
first, once a start. Two processes may build the same folder: the second to finish throws its own away and uses the
first one's. A folder that fails its check is made again, and an event says so.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.storage.atomic_files import FileRecord, make_folder, remove_folder, sync_folder, write_new_file
from mambrane.storage.manifest import CheckpointDamaged, check_file, file_records, read_sealed, seal

Opened = TypeVar("Opened")
LIST_NAME = "files.json"
_UNFINISHED = ".unfinished-"
_ABANDONED_AFTER_S = 24 * 3600.0
"""A temporary folder older than this belongs to a process that was killed."""


class CacheDamaged(Exception):
    """What a cache folder holds is not what was written; the message says in which way."""


def hash_of(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    """Return 32 hexadecimal digits that depend on a JSON value and on nothing else."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def obtain_folder(
    folder: Path,
    *,
    what: str,
    open_whole: Callable[[Path], Opened],
    write: Callable[[Path], Mapping[str, FileRecord]],
    events: EventLog,
) -> Opened:
    """Return what is in a cache folder; build the folder first if it is not there or damaged.

    Args:
        folder: the place in the cache.
        what: what it holds, as text, for messages: "the text of birds".
        open_whole: opens a folder whose bytes are those that were written; raises CacheDamaged if they make no sense.
        write: fills a new, empty folder with files and returns what it wrote, by name.
        events: receives "cache_damaged" with a `message` when a damaged folder is made again.

    Raises:
        UserError: the cache cannot be written or read.
    """
    # lexists: a link that leads nowhere, or in a circle, is something that nobody wrote.
    if os.path.lexists(folder):
        try:
            return _open(folder, open_whole)
        except CacheDamaged as damage:
            message = f"the cache of {what} is damaged and made again: {damage}"
            events.emit("cache_damaged", path=str(folder), found=str(damage), message=message)
    _build(folder, open_whole, write)
    return _open(folder, open_whole)


def opened_folder(folder: Path, open_whole: Callable[[Path], Opened]) -> Opened | None:
    """Return what is in a cache folder, or None if it is not there or damaged; nothing is built."""
    try:
        return _open(folder, open_whole)
    except CacheDamaged:
        return None


def _open(folder: Path, open_whole: Callable[[Path], Opened]) -> Opened:
    _check_files(folder)
    try:
        return open_whole(folder)
    # Whatever a record holds that nobody wrote: a list for a dict, text for a number, a key that is not there.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError) as error:
        raise CacheDamaged(f"{folder}: {type(error).__name__}: {error}") from error


def _check_files(folder: Path) -> None:
    """Raise CacheDamaged unless every file is byte for byte the one that was written."""
    path = folder / LIST_NAME
    if path.is_symlink():
        raise CacheDamaged(f"{path}: not an ordinary file")
    try:
        body, is_sealed = read_sealed(path)
        files, belongs_to = file_records(body["files"]), body["folder"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CacheDamaged(f"{path}: {error if isinstance(error, OSError) else 'not a list of files'}") from error
    if not is_sealed:
        raise CacheDamaged(f"{path}: its SHA-256 differs")
    # Whole folders can be exchanged too, and each is as it was written.
    if belongs_to != folder.name:
        raise CacheDamaged(f"{path}: it was written as {str(belongs_to)[:64]!r}")
    for name, record in sorted(files.items()):
        try:
            check_file(folder / name, record, contents=True)
        except CheckpointDamaged as damage:
            raise CacheDamaged(damage.found) from damage
        # A name that no file can have.
        except ValueError as error:
            raise CacheDamaged(f"{folder / name}: {error}") from error


def _build(
    folder: Path, open_whole: Callable[[Path], object], write: Callable[[Path], Mapping[str, FileRecord]]
) -> None:
    with _cache_errors(folder.parent):
        make_folder(folder.parent)
        _remove_abandoned(folder.parent)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
        try:
            files = write(unfinished)
            body = {"folder": folder.name, "files": {name: record._asdict() for name, record in files.items()}}
            write_new_file(unfinished / LIST_NAME, [seal(body)])
            sync_folder(unfinished)
            _rename(unfinished, folder, open_whole)
        finally:
            _remove(unfinished)


def _rename(unfinished: Path, folder: Path, open_whole: Callable[[Path], object]) -> None:
    """Give the new folder its name, unless another process has put a whole one there meanwhile."""
    # lexists: a link that leads nowhere is in the way too.
    if os.path.lexists(folder) and opened_folder(folder, open_whole) is None:
        damaged = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
        os.rename(folder, damaged / folder.name)
        _remove(damaged)
    try:
        os.rename(unfinished, folder)
    except OSError:
        if opened_folder(folder, open_whole) is None:
            raise
    sync_folder(folder.parent)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_UNFINISHED}*"):
        # Another process may give it its name between the two lines.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
                _remove(path)


def _remove(folder: Path) -> None:
    """Remove a temporary folder if that can be done; what is left goes a day later."""
    with contextlib.suppress(OSError):
        remove_folder(folder)


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} cannot be written: {error.strerror or error}",
            wanted="a folder with write permission and free space",
            way_out="free some space, or set MAMBRANE_CACHE to another folder",
        ) from error
