"""What the tests of this room share: small texts and small configurations."""

import hashlib
from pathlib import Path
from typing import Any

from mambrane.core.events import Event, EventLog
from mambrane.data.config import DataConfig
from mambrane.data.documents import CutText
from mambrane.data.source_files import DomainSource, SourceFile
from mambrane.data.sources import find_sources
from mambrane.storage.manifest import seal


def recording_log() -> tuple[EventLog, list[Event]]:
    """Return an event log and the list it fills."""
    log, seen = EventLog(), []
    log.listeners.append(seen.append)
    return log, seen


def kinds(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def write_files(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def lines(name: str, count: int = 40) -> str:
    return "".join(f"{name} line {number}\n" for number in range(count))


def config_for(path: Path, **changes: Any) -> DataConfig:
    return DataConfig(data=(str(path),), **changes)


def source_at(path: Path) -> DomainSource:
    """Return the one domain that lies at a path."""
    (source,) = find_sources((str(path),), EventLog())
    return source


def memory_source(texts: dict[str, bytes], kin: dict[str, str] | None = None) -> DomainSource:
    """Return a domain whose files hold these texts, without a disk; limits are obeyed as for plain text."""
    kin = kin or {}

    def read(path, limit):
        text = texts[path.name]
        yield CutText(text[:limit]) if 0 < limit < len(text) else text

    return DomainSource(
        "memory", tuple(SourceFile(Path(name), name, read, kin=kin.get(name, "")) for name in sorted(texts))
    )


def reseal(folder: Path) -> None:
    """Make the list of a cache folder fit the files that are in it now."""
    files = {
        path.name: {"num_bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
        if path.name != "files.json"
    }
    (folder / "files.json").write_bytes(seal({"folder": folder.name, "files": files}))
