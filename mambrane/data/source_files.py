"""What a domain is made of before it is read: its files, each with the function that reads it."""

from dataclasses import dataclass
from pathlib import Path

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
