"""domains.json: what a run writes down of its text, a record a domain. A file of any content gives what is whole in it.

A checkpoint knows the hash of each text too, so a run goes on without the file; it only finds its text less easily.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.core.ordinary_files import read_ordinary
from mambrane.storage.atomic_files import atomic_write_text

WITHOUT_THEM = "the run's text is known by its hash alone"


class DomainRecords(NamedTuple):
    """The records that can be read, in the order of the tasks."""

    records: list[dict[str, Any]]
    damage: str | None
    """What is wrong with the file, as a sentence."""


def write_domain_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write domains.json; raises StorageError where the disk refuses."""
    atomic_write_text(path, json.dumps(list(records), indent=2) + "\n")


def read_domain_records(path: Path) -> DomainRecords:
    """Return what `write_domain_records` wrote, as far as it is whole."""
    try:
        found = json.loads(read_ordinary(path))
        if not isinstance(found, list):
            raise TypeError(f"a {type(found).__name__} in place of a list")
    except FileNotFoundError:
        return DomainRecords([], f"{path} is missing: {WITHOUT_THEM}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return DomainRecords([], f"{path} is damaged ({type(error).__name__}: {str(error)[:100]}): {WITHOUT_THEM}")
    whole = [record for record in found if _is_whole(record)]
    if len(whole) == len(found) > 0:
        return DomainRecords(whole, None)
    broken = "no records" if not found else f"{len(found) - len(whole)} of {len(found)} records cannot be read"
    return DomainRecords(whole, f"{path} is damaged ({broken}): {WITHOUT_THEM}")


def _is_whole(record: Any) -> bool:  # noqa: ANN401 -- any JSON value
    try:
        splits = [record["train"], record["heldout"]]
        texts = [record["name"], record["content_hash"], *(split["content_hash"] for split in splits)]
        counts = [split[count] for split in splits for count in ("num_bytes", "num_documents")]
        where = record.get("data", [])
        texts += where
    # Any wrong type or shape shows as one of these.
    except (KeyError, TypeError, AttributeError, IndexError):
        return False
    are_counts = all(type(count) is int and count >= 0 for count in counts)
    return are_counts and isinstance(where, list) and all(isinstance(text, str) for text in texts)
