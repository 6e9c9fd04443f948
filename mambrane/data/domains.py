"""The data of a run in one call: find the domains, read and split their text, choose the tokenizer, tokenize."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache import hash_of
from mambrane.data.config import DataConfig
from mambrane.data.corpus import Corpus, cached_corpus
from mambrane.data.sources import find_sources
from mambrane.data.tokenizer import Tokenizer, build_tokenizer
from mambrane.data.tokens import TokenFile, cached_token_file


@dataclass(frozen=True, eq=False)
class Domain:
    """A text domain, tokenized: what one task trains on, and what it is evaluated on."""

    name: str
    train: TokenFile
    heldout: TokenFile
    content_hash: str
    """Hash of the text of both splits."""
    record: dict[str, Any] = field(repr=False)
    """Bytes, documents and hashes of each split and of each file, as JSON; a run keeps it as domains.json."""

    @property
    def bytes_there(self) -> int | None:
        """Bytes of text that the domain's files hold; None where only reading all of it could tell."""
        return self.record["bytes_there"]

    @property
    def bytes_read(self) -> int:
        """Bytes of text that were read, for both splits."""
        return self.record["bytes_read"]

    @property
    def heldout_bytes(self) -> int:
        """Bytes of text that the domain is evaluated on and never trained on."""
        return self.heldout.num_bytes


def load_domains(
    config: DataConfig,
    cache_dir: Path,
    events: EventLog,
    num_domains: int | None = None,
    *,
    tokenizer: Tokenizer | None = None,
) -> tuple[Tokenizer, list[Domain]]:
    """Return the tokenizer and the first `num_domains` domains (None: all) that `config` names.

    Args:
        config: what to read and how to split it.
        cache_dir: folder for texts, tokenizers and tokens; shared by runs, and by processes at the same time.
        events: receives "file_skipped", "domains_left_out", "text_read" (not when the cache holds the text),
            "cache_damaged" and "text_left_out" (each with a `message`), "tokenizer_smaller_than_asked" and one
            "domain" for each domain.
        num_domains: domains wanted, None for all there are.
        tokenizer: use this one (of an earlier run) instead of the one that `config` names.

    Raises:
        UserError: anything wrong with the text, or fewer domains than wanted.
    """
    sources = find_sources(config.data, events)
    if num_domains is not None and num_domains > len(sources):
        names = ", ".join(source.name for source in sources)
        raise UserError(
            f"{len(sources)} text domains in --data {' '.join(config.data)}: {names}",
            wanted=f"{num_domains}, one for each task",
            way_out=f"--num-tasks {len(sources)}, or more files or sub-folders (one is one domain)",
        )
    if num_domains is not None and num_domains < len(sources):
        events.emit("domains_left_out", names=[source.name for source in sources[num_domains:]])
    corpora = [cached_corpus(source, config, cache_dir, events) for source in sources[:num_domains]]
    if tokenizer is None:
        tokenizer = _tokenizer_for(corpora, config, cache_dir, events)
        asked = config.tokenizer.removeprefix("bpe:")
        if asked.isdecimal() and tokenizer.vocab_size < int(asked):
            events.emit("tokenizer_smaller_than_asked", asked=int(asked), vocab_size=tokenizer.vocab_size)
    left_out = [words for corpus in corpora if (words := text_left_out(corpus.record, config))]
    if left_out:
        events.emit("text_left_out", message="; ".join(left_out))
    domains = [_tokenize(corpus, tokenizer, cache_dir, events) for corpus in corpora]
    for domain in domains:
        events.emit("domain", **_summary(domain))
    return tokenizer, domains


def text_left_out(record: dict[str, Any], config: DataConfig) -> str:
    """Return in words what of a domain's text is neither learned nor evaluated on, and why; empty if nothing is."""
    name, there, read = record["name"], record["bytes_there"], record["bytes_read"]
    parts = []
    if there is None or there > read:
        of_all = "more" if there is None else f"{there:,}"
        reason = "equal and blank documents are left out"
        if config.max_domain_bytes:
            reason = f"--max-domain-bytes {config.max_domain_bytes}; 0 reads all"
        parts.append(f"{read:,} of {of_all} bytes of {name} are read ({reason})")
    if record["heldout_bytes_left_out"]:
        parts.append(
            f"{record['heldout_bytes_left_out']:,} held-out bytes of {name} are not evaluated on "
            f"(--max-heldout-bytes {config.max_heldout_bytes}; 0 uses all)"
        )
    return "; ".join(parts)


def _tokenizer_for(corpora: list[Corpus], config: DataConfig, cache_dir: Path, events: EventLog) -> Tokenizer:
    def training_texts() -> Iterator[bytes]:
        for corpus in corpora:
            yield from corpus.documents("train")

    texts_hash = hash_of([corpus.split_hash("train") for corpus in corpora])
    return build_tokenizer(config.tokenizer, training_texts, texts_hash=texts_hash, cache_dir=cache_dir, events=events)


def _tokenize(corpus: Corpus, tokenizer: Tokenizer, cache_dir: Path, events: EventLog) -> Domain:
    train, heldout = (
        cached_token_file(
            partial(corpus.documents, split),
            what=f"{corpus.record['name']} ({words})",
            texts_hash=corpus.split_hash(split),
            tokenizer=tokenizer,
            cache_dir=cache_dir,
            events=events,
        )
        for split, words in (("train", "training text"), ("heldout", "held-out text"))
    )
    return Domain(corpus.record["name"], train, heldout, corpus.record["content_hash"], corpus.record)


def _summary(domain: Domain) -> dict[str, Any]:
    return {
        "name": domain.name,
        "content_hash": domain.content_hash,
        "bytes_there": domain.bytes_there,
        "bytes_read": domain.bytes_read,
        "train_bytes": domain.train.num_bytes,
        "train_tokens": domain.train.num_tokens,
        "heldout_bytes": domain.heldout.num_bytes,
        "heldout_tokens": domain.heldout.num_tokens,
    }
