"""Where the text of each domain lies: the built-in domains, files and folders, or the Hugging Face hub."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.printable import printable, printable_path
from mambrane.data.builtin.installed import builtin_sources
from mambrane.data.documents import Reader
from mambrane.data.file_kinds import READABLE, reader_for
from mambrane.data.hub import hub_source
from mambrane.data.source_files import DomainSource, SourceFile, kind_of, status_of, unreadable


class _Skipped(NamedTuple):
    """A file or folder that is passed over, and why."""

    path: Path
    reason: str


def find_sources(locations: tuple[str, ...], events: EventLog) -> list[DomainSource]:
    """Return the domains that `--data` names, in the order of the tasks.

    Raises:
        UserError: a path does not exist or cannot be looked at, or no file in it can be read.
    """
    sources: list[DomainSource] = []
    for location in locations:
        if location == "builtin":
            sources += builtin_sources()
        elif location.startswith("hf:"):
            sources.append(hub_source(location))
        else:
            sources += _sources_at(location, events)
    return _with_distinct_names(sources)


def _sources_at(location: str, events: EventLog) -> list[DomainSource]:
    path = _path_of(location)
    with _system_errors(path):
        mode = os.stat(path).st_mode
        if not stat.S_ISDIR(mode):
            return [_file_source(path, mode)]
        skipped: list[_Skipped] = []
        found = list(_domains_in(path, skipped))
    _tell_skipped(skipped, events)
    if not found:
        raise UserError(
            f"--data {printable_path(path)}: no readable file in it ({len(skipped)} of unknown kind)",
            wanted=READABLE,
            way_out="name plain text files .txt, one file or sub-folder for each domain",
        )
    return found


def _path_of(location: str) -> Path:
    try:
        path = Path(location).expanduser()
    # ~name of nobody.
    except RuntimeError as error:
        raise unreadable(location, error) from error
    with _system_errors(path):
        if location.strip() and "\0" not in location and path.exists():
            return path
    raise UserError(
        f"--data {printable_path(location) or repr(location)}: does not exist",
        wanted="builtin, an existing file or folder, or hf:NAME",
        way_out="check the path; a hub data set is written hf:NAME",
    )


def _domains_in(folder: Path, skipped: list[_Skipped]) -> Iterator[DomainSource]:
    """Yield a domain for each file and each sub-folder."""
    around = (folder.resolve(), *folder.resolve().parents)
    for entry in _visible(folder):
        if entry.is_dir():
            if entry.is_symlink() and entry.resolve() in around:
                skipped.append(_Skipped(entry, "a link to a folder that it lies in"))
            else:
                yield _folder_source(entry, skipped)
        elif (reason := _reason_to_skip(entry)) is not None:
            skipped.append(_Skipped(entry, reason))
        else:
            yield _domain(_stem(entry), [SourceFile(entry, printable(entry.name), _reader(entry))])


def _file_source(path: Path, mode: int) -> DomainSource:
    if reader_for(path) is None:
        raise UserError(
            f"--data {printable_path(path)}: unknown kind of file"
            + ("" if stat.S_ISREG(mode) else f" ({kind_of(mode)})"),
            wanted=READABLE,
            way_out="name a plain text file .txt",
        )
    file = SourceFile(path, printable(path.name), _reader(path))
    status_of(file)
    return _domain(_stem(path), [file])


def _folder_source(folder: Path, skipped: list[_Skipped]) -> DomainSource:
    files = []
    num_skipped = len(skipped)
    for path in _walk(folder, skipped):
        reason = _reason_to_skip(path)
        if reason is None:
            files.append(SourceFile(path, printable(path.relative_to(folder).as_posix()), _reader(path)))
        else:
            skipped.append(_Skipped(path, reason))
    if not files:
        raise UserError(
            f"domain {printable_path(folder.name)}: the folder {printable_path(folder)} holds no readable file "
            f"({len(skipped) - num_skipped} of unknown kind)",
            wanted=READABLE,
            way_out="put text into it, or move it out of the data folder: each sub-folder is a domain",
        )
    return _domain(folder.name, files)


def _domain(name: str, files: list[SourceFile]) -> DomainSource:
    return DomainSource(printable(name), tuple(sorted(files, key=lambda file: file.relative)))


def _reader(path: Path) -> Reader:
    read = reader_for(path)
    assert read is not None, f"{path} has a reader, or it was passed over"
    return read


def _reason_to_skip(path: Path) -> str | None:
    """Return why a file of a folder is not read, or None if it is."""
    if path.is_symlink() and not path.exists() and reader_for(path) is None:
        return "a link that leads nowhere"
    if reader_for(path) is None:
        return f"unknown suffix {path.suffix.lower()!r}; readable are {READABLE}"
    # A link that leads nowhere stays, to be named as a file that cannot be read.
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    return None if stat.S_ISREG(mode) else f"{kind_of(mode)}, not an ordinary file"


def _tell_skipped(skipped: list[_Skipped], events: EventLog) -> None:
    """Emit one event for each reason, with an example: a folder may hold thousands of pictures."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in skipped:
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        events.emit("file_skipped", path=printable_path(paths[0]), count=len(paths), reason=reason)


def _walk(folder: Path, skipped: list[_Skipped]) -> Iterator[Path]:
    """Yield the files below a folder, however deep; links to folders are not followed."""
    waiting = [folder]
    while waiting:
        for entry in _visible(waiting.pop()):
            if not entry.is_dir():
                yield entry
            elif entry.is_symlink():
                skipped.append(_Skipped(entry, "a link to a folder; name the folder itself in --data to read it"))
            else:
                waiting.append(entry)


def _visible(folder: Path) -> list[Path]:
    """Return the sorted entries of a folder without hidden ones."""
    with _system_errors(folder):
        entries = sorted(folder.iterdir())
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__pycache__"]


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(error.filename or path, error) from error


def _stem(path: Path) -> str:
    """Return the name without its suffix, and without .gz before that."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _with_distinct_names(sources: list[DomainSource]) -> list[DomainSource]:
    """Number the second and later domains of one name: poems, poems-2."""
    distinct: dict[str, DomainSource] = {}
    for source in sources:
        name, number = source.name, 1
        while name in distinct:
            number += 1
            name = f"{source.name}-{number}"
        distinct[name] = replace(source, name=name)
    return list(distinct.values())
