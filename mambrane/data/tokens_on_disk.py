"""Token streams that stay on disk, read piece by piece.

They are read and not mapped. A mapped file that shrinks while it is read (another program cut it, a network disk went
away) ends the process with SIGBUS: no message, no checkpoint. A read that comes back short is an error with words.
Streams of up to MAX_BYTES_IN_MEMORY are read whole at the start, so that nothing can change them afterwards.
"""

import os
from pathlib import Path
from threading import Lock
from weakref import finalize

import numpy as np

from mambrane.core.errors import UserError

MAX_BYTES_IN_MEMORY = 256 * 1024**2
"""Longer streams are read from the disk piece by piece."""


class TokensOnDisk:
    """Tokens in a file, sliced as an array is."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path = path
        self.dtype = dtype
        # The open file stays what it is when its folder is replaced meanwhile.
        self._file = path.open("rb", buffering=0)
        finalize(self, self._file.close)
        self._length = os.fstat(self._file.fileno()).st_size // dtype.itemsize
        self._place = Lock()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, piece: slice) -> np.ndarray:
        """Return the tokens of a slice without a step, in memory of their own.

        Raises:
            UserError: the file is shorter than it was.
        """
        start, stop, step = piece.indices(self._length)
        assert step == 1, "a stream is read forward, token by token"
        wanted = max(stop - start, 0) * self.dtype.itemsize
        content = b""
        while len(content) < wanted:
            read = self._read_at(start * self.dtype.itemsize + len(content), wanted - len(content))
            if not read:
                raise changed_while_used(self.path)
            content += read
        return np.frombuffer(content, dtype=self.dtype)

    def _read_at(self, start_bytes: int, num_bytes: int) -> bytes:
        """Return up to `num_bytes` bytes."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), num_bytes, start_bytes)
        # Windows has no read at a place: no other thread may move it between the two calls.
        with self._place:
            self._file.seek(start_bytes)
            return self._file.read(num_bytes)


def open_tokens(path: Path, dtype: np.dtype) -> np.ndarray | TokensOnDisk:
    """Return the tokens of a file: in memory if they are few, else on disk."""
    on_disk = TokensOnDisk(path, dtype)
    return on_disk[:] if len(on_disk) * dtype.itemsize <= MAX_BYTES_IN_MEMORY else on_disk


def changed_while_used(path: Path) -> UserError:
    """Return the error for a cached file that changed after it was checked."""
    return UserError(
        f"{path} became shorter while it was in use",
        wanted="a cache that nothing else writes to",
        way_out="run the same command again: it makes the file again and resumes from the newest checkpoint",
    )
