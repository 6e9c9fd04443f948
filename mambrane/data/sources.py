"""Where the text of each domain lies: the built-in domains, files and folders, or the Hugging Face hub."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.builtin.installed import builtin_sources
from mambrane.data.documents import READABLE, reader_for
from mambrane.data.hub import hub_source
from mambrane.data.source_files import DomainSource, SourceFile


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
            try:
                sources += _sources_at(Path(location).expanduser(), events)
            except OSError as error:
                raise _unreadable(error.filename or location, error) from error
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
    skipped: list[Path] = []
    found = []
    for entry in _visible(path):
        if entry.is_dir():
            found.append(_folder_source(entry, skipped))
        elif reader_for(entry) is None:
            skipped.append(entry)
        else:
            found.append(_file_source(entry))
    _tell_skipped(skipped, events)
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


def _folder_source(folder: Path, skipped: list[Path]) -> DomainSource:
    files, unknown = [], []
    for path in _walk(folder):
        read = reader_for(path)
        if read is None:
            unknown.append(path)
        else:
            files.append(SourceFile(path, path.relative_to(folder).as_posix(), read))
    if not files:
        raise UserError(
            f"domain {folder.name}: the folder {folder} holds no readable file ({len(unknown)} of unknown kind)",
            wanted=READABLE,
            way_out="put text into it, or move it out of the data folder: each sub-folder is a domain",
        )
    skipped += unknown
    return DomainSource(folder.name, tuple(sorted(files, key=lambda file: file.relative)))


def _tell_skipped(skipped: list[Path], events: EventLog) -> None:
    """Emit one event for each kind of file, with an example: a folder may hold thousands of pictures."""
    by_suffix: dict[str, list[Path]] = {}
    for path in skipped:
        by_suffix.setdefault(path.suffix.lower(), []).append(path)
    for suffix, paths in by_suffix.items():
        reason = f"unknown suffix {suffix!r}; readable are {READABLE}"
        events.emit("file_skipped", path=str(paths[0]), count=len(paths), reason=reason)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; links to folders are not followed."""
    for entry in _visible(folder):
        if not entry.is_dir():
            yield entry
        elif not entry.is_symlink():
            yield from _walk(entry)


def _visible(folder: Path) -> list[Path]:
    """Return the sorted entries of a folder without hidden ones."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__pycache__"]


def _unreadable(path: Path | str, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be read ({error.strerror or error})",
        wanted="a file or folder that may be read",
        way_out="correct the path, or change its permissions",
    )


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
