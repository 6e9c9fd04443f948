"""Where the text of each domain lies: the built-in domains, files and folders, or the Hugging Face hub."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.documents import READABLE, Reader, reader_for


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file, its name inside the domain, and the function that reads its documents."""

    path: Path
    relative: str
    read: Reader


@dataclass(frozen=True, slots=True)
class DomainSource:
    """The files of one domain, sorted by name."""

    name: str
    files: tuple[SourceFile, ...]
    skips_bad_files: bool = False
    """Pass over a file that is not text, with an event, instead of ending the run."""


def find_sources(locations: tuple[str, ...], events: EventLog) -> list[DomainSource]:
    """Return the domains that `--data` names, in the order of the tasks.

    Raises:
        UserError: a path does not exist, or no file in it can be read.
    """
    sources: list[DomainSource] = []
    for location in locations:
        if location == "builtin":
            from mambrane.data.builtin import builtin_sources

            sources += builtin_sources()
        elif location.startswith("hf:"):
            from mambrane.data.hub import hub_source

            sources.append(hub_source(location))
        else:
            sources += _sources_at(Path(location).expanduser(), events)
    return _with_distinct_names(sources)


def _sources_at(path: Path, events: EventLog) -> list[DomainSource]:
    if not path.exists():
        raise UserError(
            f"--data {path}: does not exist",
            wanted="builtin, an existing file or folder, or hf:NAME",
            way_out="check the path; a hub data set is written hf:NAME",
        )
    if path.is_file():
        return [_file_source(path)]
    skipped: list[str] = []
    found = []
    for entry in _visible(path):
        source = _folder_source(entry, skipped) if entry.is_dir() else _entry_source(entry, skipped)
        found += [source] if source is not None else []
    for name in skipped:
        events.emit("file_skipped", path=name, reason=f"unknown suffix; readable are {READABLE}")
    if not found:
        raise UserError(
            f"--data {path}: no readable file in it ({len(skipped)} of unknown kind)",
            wanted=READABLE,
            way_out="name plain text files .txt, one file or sub-folder for each domain",
        )
    return found


def _file_source(path: Path) -> DomainSource:
    read = reader_for(path)
    if read is None:
        raise UserError(f"--data {path}: unknown kind of file", wanted=READABLE, way_out="name a plain text file .txt")
    return DomainSource(_stem(path), (SourceFile(path, path.name, read),))


def _entry_source(path: Path, skipped: list[str]) -> DomainSource | None:
    if reader_for(path) is None:
        skipped.append(str(path))
        return None
    return _file_source(path)


def _folder_source(folder: Path, skipped: list[str]) -> DomainSource | None:
    files = []
    for path in _walk(folder):
        read = reader_for(path)
        if read is None:
            skipped.append(str(path))
        else:
            files.append(SourceFile(path, path.relative_to(folder).as_posix(), read))
    return DomainSource(folder.name, tuple(files)) if files else None


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted; hidden ones and links to folders are left out."""
    for entry in _visible(folder):
        if entry.is_file():
            yield entry
        elif not entry.is_symlink():
            yield from _walk(entry)


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be listed ({error.strerror})",
            wanted="a readable folder",
            way_out="change its permissions",
        ) from error
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.name != "__pycache__" and (entry.is_file() or entry.is_dir())
    ]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".GZ").rsplit(".", 1)[0] or path.name


def _with_distinct_names(sources: list[DomainSource]) -> list[DomainSource]:
    """Number the second and later domains of one name: poems, poems-2."""
    taken: set[str] = set()
    distinct = []
    for source in sources:
        name, number = source.name, 1
        while name in taken:
            number += 1
            name = f"{source.name}-{number}"
        taken.add(name)
        distinct.append(DomainSource(name, source.files, source.skips_bad_files))
    return distinct
