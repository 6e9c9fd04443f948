"""Cache folders that are either whole or not there.

A folder is written under a temporary name, synced and renamed. Two processes may build the same one: the second
to finish throws its own away and uses the first one's. A folder that fails its check is replaced.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mambrane.core.errors import UserError

Opened = TypeVar("Opened")
_UNFINISHED = ".unfinished-"
_ABANDONED_AFTER_S = 24 * 3600.0
"""A temporary folder older than this belongs to a process that was killed."""


def hash_of(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    """Return 32 hexadecimal digits that depend on a JSON value and on nothing else."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def obtain_folder(folder: Path, open_whole: Callable[[Path], Opened | None], write: Callable[[Path], None]) -> Opened:
    """Return what is in a cache folder; build the folder first if it is not there or damaged.

    Args:
        folder: the place in the cache.
        open_whole: opens a folder, or returns None if it is not there or not whole.
        write: fills a new, empty folder with files.

    Raises:
        UserError: the cache cannot be written.
    """
    opened = open_whole(folder)
    if opened is None:
        _build(folder, open_whole, write)
        opened = open_whole(folder)
    assert opened is not None, f"{folder} was just written"
    return opened


def _build(folder: Path, open_whole: Callable[[Path], object | None], write: Callable[[Path], None]) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    try:
        write(unfinished)
        for path in (*unfinished.iterdir(), unfinished):
            _sync(path)
        _rename(unfinished, folder, open_whole)
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename(unfinished: Path, folder: Path, open_whole: Callable[[Path], object | None]) -> None:
    """Give the new folder its name, unless another process has put a whole one there meanwhile."""
    if folder.exists() and open_whole(folder) is None:
        damaged = tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent)
        os.rename(folder, damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        os.rename(unfinished, folder)
    except OSError:
        if open_whole(folder) is None:
            raise
    _sync(folder.parent)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_UNFINISHED}*"):
        # Another process may give it its name between the two lines.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"the cache folder {folder} cannot be written: {error.strerror or error}",
        wanted="a folder with write permission and free space",
        way_out="free some space, or set MAMBRANE_CACHE to another folder",
    )
