"""Files that are read to their end. A pipe waits for ever for a writer, and a device such as /dev/zero has no end."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_ordinary(path: Path) -> BufferedReader:
    """Open a file to read its bytes.

    Raises:
        OSError: it is not there or may not be read, or it is a pipe, a socket or a device.
    """
    refuse_special(path)
    return path.open("rb")


def read_ordinary(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: as for `open_ordinary`.
    """
    with open_ordinary(path) as file:
        return file.read()


def refuse_special(path: Path) -> None:
    """Raise OSError where a path leads to a pipe, a socket or a device."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))
