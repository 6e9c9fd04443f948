"""Tasks that a session adds behind those of a run: their domains, each under a name of its own, written down.

Why tasks are added and never inserted: docs/decisions/open-stream.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mambrane.continual.stream import Task
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records, write_domain_records
from mambrane.data.domains import Domain
from mambrane.run.own_text import keep_heldout_text
from mambrane.settings.config import RunConfig
from mambrane.training.session import Session


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Tasks that a session adds, with the domains that are new."""

    tasks: tuple[Task, ...]
    domains: tuple[Domain, ...]


def named_apart(domains: Sequence[Domain], taken: Sequence[str]) -> list[Domain]:
    """Return domains under names that no domain of the run has: letters, letters-2."""
    names, apart = list(taken), []
    for domain in domains:
        number, name = 1, domain.name
        while name in names:
            number += 1
            name = f"{domain.name}-{number}"
        names.append(name)
        apart.append(replace(domain, name=name))
    return apart


def write_down(session: Session, texts: Sequence[Corpus], addition: Addition, config: RunConfig) -> None:
    """Add the texts that a session brings to domains.json, and keep what is held out of them.

    The first process does, once every process has read of the run what is new; the others return when it is done.
    """
    session.ranks.wait()
    if session.ranks.is_first:
        _write_down(session, texts, addition, config)
    session.ranks.wait()


def _write_down(session: Session, texts: Sequence[Corpus], addition: Addition, config: RunConfig) -> None:
    folder = session.folder
    new = {domain.content_hash: domain for domain in addition.domains}
    records = read_domain_records(folder.domains_file).records
    known = {record["content_hash"] for record in records}
    records += [
        {**domain.record, "name": domain.name, "data": list(config.data.data)}
        for content_hash, domain in new.items()
        if content_hash not in known
    ]
    write_domain_records(folder.domains_file, records)
    added = [text for text in texts if text.content_hash in new]
    keep_heldout_text(folder, added, config.data.keep_heldout_bytes, session.events)
