"""What a domain is made of before it is read: its files, each with the function that reads it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.core.printable import printable_path
from mambrane.data.documents import Reader


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file, its name inside the domain, and the function that reads its documents."""

    path: Path
    relative: str
    read: Reader
    is_remote: bool = False
    """Lies on the hub: has a name but no size and time here."""
    kin: str = ""
    """Name that is shared by files with much of their text in common; left out: the file has no such kin."""
    has_own_documents: bool = False
    """Its documents are learned or held out each by itself, not the file as a whole."""

    @property
    def family(self) -> str:
        """What is trained on, or held out, as a whole: the files of one kin, or this file."""
        return self.kin or self.relative


@dataclass(frozen=True, slots=True)
class DomainSource:
    """The files of one domain, sorted by name."""

    name: str
    files: tuple[SourceFile, ...]
    skips_bad_files: bool = False
    """Pass over a file that is not text, with an event, instead of ending the run."""


def status_of(file: SourceFile) -> os.stat_result:
    """Return size and times of a file that lies here.

    Raises:
        UserError: it has gone, may not be looked at, or is no longer an ordinary file.
    """
    try:
        status = os.stat(file.path)
    except OSError as error:
        raise unreadable(file.path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(
            f"{printable_path(file.path)}: {kind_of(status.st_mode)}, which has no end that could be read to",
            wanted="an ordinary file",
            way_out="copy what it gives into a file, or leave it out",
        )
    return status


def kind_of(mode: int) -> str:
    """Return, as text, what a path leads to, by the mode that `stat` gave."""
    kinds = {
        stat.S_IFREG: "an ordinary file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "not an ordinary file")


def unreadable(path: Path | str, error: Exception) -> UserError:
    """Return the error for a file or folder that the system refuses."""
    return UserError(
        f"{printable_path(path)}: cannot be read ({getattr(error, 'strerror', None) or error})",
        wanted="a file or folder that may be read and stays as it is meanwhile",
        way_out="correct the path or its permissions, or leave it out",
    )
