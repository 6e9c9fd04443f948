"""Cache folders that are either whole or not there.

A folder is written under a temporary name, synced and renamed. Two processes may build the same one: the second
to finish throws its own away and uses the first one's.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError


def hash_of(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    """Return 32 hexadecimal digits that depend on a JSON value and on nothing else."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def publish_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make `folder` appear with all that `write` puts into it, or not at all.

    Raises:
        UserError: the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    try:
        write(unfinished)
        for path in (*unfinished.iterdir(), unfinished):
            _sync(path)
        _rename_unless_there(unfinished, folder)
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def discard_folder(folder: Path) -> None:
    """Remove a damaged folder so that it can be built again."""
    shutil.rmtree(folder, ignore_errors=True)


def _rename_unless_there(unfinished: Path, folder: Path) -> None:
    try:
        os.rename(unfinished, folder)
    except OSError:
        if not folder.is_dir():
            raise
    _sync(folder.parent)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"the cache folder {folder} cannot be written: {error.strerror or error}",
        wanted="a folder with write permission and free space",
        way_out="free some space, or choose another --output-dir",
    )
