"""A data set of the Hugging Face hub as one domain: hf:NAME, hf:NAME:CONFIGURATION, either with @REVISION.

The rows of its train split are streamed once into the cache, as many as are asked for; from then on the cache
is the data, also when the hub's copy changes or cannot be reached. Name a revision to fix the version beforehand.
"""

from collections.abc import Iterator
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.core.optional_package import optional_package
from mambrane.data.documents import limited, text_of_record
from mambrane.data.source_files import DomainSource, SourceFile


def hub_source(location: str) -> DomainSource:
    """Return the domain of a hub name; nothing is fetched yet."""
    name, configuration, _ = split_hub_name(location)
    if not name:
        raise UserError(f"--data {location}", wanted="hf:NAME", way_out="--data hf:OWNER/DATASET")
    domain_name = "-".join(part for part in (name.rstrip("/").rsplit("/", 1)[-1], configuration) if part)
    return DomainSource(domain_name, (SourceFile(Path(location), location, read_hub_rows, is_remote=True),))


def split_hub_name(location: str) -> tuple[str, str | None, str | None]:
    """Return name, configuration and revision of hf:NAME:CONFIGURATION@REVISION."""
    rest, _, revision = location.removeprefix("hf:").partition("@")
    name, _, configuration = rest.partition(":")
    return name, configuration or None, revision or None


def read_hub_rows(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the `text` field of each row of the train split."""
    yield from limited(_hub_texts(str(path)), limit)


def _hub_texts(location: str) -> Iterator[bytes]:
    datasets = optional_package(
        "datasets", extra="hub", asked_for=f"--data {location}", otherwise="--data PATH with files of your own"
    )
    name, configuration, revision = split_hub_name(location)
    try:
        rows = datasets.load_dataset(name, configuration, split="train", revision=revision, streaming=True)
        for number, row in enumerate(rows):
            yield text_of_record(row, f"{location}, row {number}")
    except UserError:
        raise
    # The library raises some twenty kinds for a wrong name, a closed door and a missing network.
    except Exception as error:
        raise UserError(
            f"--data {location}: cannot be loaded ({type(error).__name__}: {error})",
            wanted="an open data set with a train split, and a connection to the hub",
            way_out="check the name and the network, or download the files and use --data PATH",
        ) from error
