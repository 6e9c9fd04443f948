"""The data of a run in one call: find the domains, read and split their text, choose the tokenizer, tokenize."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache import hash_of
from mambrane.data.config import DataConfig, bpe_spec
from mambrane.data.corpus import Corpus, cached_corpus
from mambrane.data.image_tasks import image_corpora, task_names
from mambrane.data.images import is_image_data
from mambrane.data.overlap import Overlap
from mambrane.data.overlap_warnings import overlap_text, overlaps_of
from mambrane.data.sources import find_sources
from mambrane.data.tokenizer import Tokenizer, build_tokenizer, tokenizer_hash
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
    known_train_tokens: int = 0
    """Tokens to learn from where the text itself is gone, as a checkpoint knows them; 0 where nobody does."""

    @property
    def num_train_tokens(self) -> int:
        """Tokens to learn from, whether they are at hand or not."""
        return self.train.num_tokens or self.known_train_tokens

    @property
    def bytes_there(self) -> int | None:
        """Bytes of text that the domain's files hold; None where only reading all of it could tell."""
        return self.record["bytes_there"]

    @property
    def bytes_read(self) -> int:
        """Bytes of text that were read, for both splits."""
        return self.record["bytes_read"]

    @property
    def tokenizer_hash(self) -> str:
        """Hash of what made the tokens; empty where that was not written down."""
        return self.record.get("tokenizer", "")

    @property
    def overlap_ratio(self) -> float:
        """Part of the held-out bytes, 0 to 1, in lines that stand in the training text of any domain."""
        return self.record["overlap_ratio"]

    @property
    def near_duplicate_ratio(self) -> float:
        """Part of the held-out bytes, 0 to 1, in documents that are nearly the same as training text."""
        return self.record["near_duplicate_ratio"]

    @property
    def is_measurable(self) -> bool:
        """Whether there is held-out text; False where nothing of it was kept and it is gone."""
        return self.heldout.num_tokens > 0

    @property
    def heldout_bytes(self) -> int:
        """Bytes of text that the domain is evaluated on and never trained on."""
        return self.heldout.num_bytes

    @property
    def summary(self) -> dict[str, Any]:
        """What the log and a plan say of it."""
        return {
            "name": self.name,
            "content_hash": self.content_hash,
            "bytes_there": self.bytes_there,
            "bytes_read": self.bytes_read,
            "train_bytes": self.train.num_bytes,
            "train_tokens": self.train.num_tokens,
            "heldout_bytes": self.heldout_bytes,
            "heldout_tokens": self.heldout.num_tokens,
            "overlap_ratio": self.overlap_ratio,
            "near_duplicate_ratio": self.near_duplicate_ratio,
        }


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
        events: receives what `read_texts` and `tokenize_texts` say.
        num_domains: domains wanted, as tasks one after another; None for all there are, learned at once.
        tokenizer: use this one (of an earlier run) instead of the one that `config` names.

    Raises:
        UserError: anything wrong with the text, or fewer domains than wanted.
    """
    corpora = read_texts(config, cache_dir, events, num_domains)
    return tokenize_texts(corpora, config, cache_dir, events, is_stream=num_domains is not None, tokenizer=tokenizer)


def read_texts(config: DataConfig, cache_dir: Path, events: EventLog, num_domains: int | None = None) -> list[Corpus]:
    """Return the text of the first `num_domains` domains (None: all) that `config` names.

    Args:
        config: what to read and how to split it.
        cache_dir: folder for texts.
        events: receives "file_skipped", "domains_left_out", "classes_left_out" (of images), "text_read" (not when the
            cache holds the text) and "cache_damaged" (with a `message`).
        num_domains: domains wanted, None for all there are.

    Raises:
        UserError: anything wrong with the text, or fewer domains than wanted.
    """
    if is_image_data(config.data):
        places = order_of(task_names(config), config.task_order)
        return image_corpora(config, cache_dir, events, num_domains, places)
    sources = find_sources(config.data, events)
    order = order_of([source.name for source in sources], config.task_order)
    if num_domains is not None and num_domains > len(sources):
        names = ", ".join(source.name for source in sources)
        raise UserError(
            f"{len(sources)} text domains in --data {' '.join(config.data)}: {names}",
            wanted=f"{num_domains}, one for each task",
            way_out=f"--num-tasks {len(sources)}, or more files or sub-folders (one is one domain)",
        )
    if num_domains is not None and num_domains < len(sources):
        events.emit("domains_left_out", names=[sources[place].name for place in order[num_domains:]])
    order = order[:num_domains]
    # Read as --data has them: what a domain leaves out because another holds it does not depend on the order of tasks.
    corpora: dict[int, Corpus] = {}
    for place in sorted(order):
        corpora[place] = cached_corpus(sources[place], config, cache_dir, events, list(corpora.values()))
    return [corpora[place] for place in order]


def order_of(names: Sequence[str], first: Sequence[str]) -> list[int]:
    """Return the places of domains in the order of the tasks: those in `first` (name, or place from 1), then others.

    Raises:
        UserError: one is named that there is not, or one twice.
    """
    by_word = {str(place + 1): place for place in range(len(names))} | {name: n for n, name in enumerate(names)}
    places: list[int] = []
    for word in first:
        place = by_word.get(word)
        if place is None or place in places:
            raise UserError(
                f"--task-order {' '.join(first)}: " + (f"no domain {word}" if place is None else f"{word} comes twice"),
                wanted=f"each domain once at most, of {', '.join(names)}, or their places 1 to {len(names)}",
                way_out=f"--task-order {' '.join(names)}",
            )
        places.append(place)
    return places + [place for place in range(len(names)) if place not in places]


def tokenize_texts(
    corpora: Sequence[Corpus],
    config: DataConfig,
    cache_dir: Path,
    events: EventLog,
    *,
    is_stream: bool,
    tokenizer: Tokenizer | None = None,
) -> tuple[Tokenizer, list[Domain]]:
    """Return the tokenizer, and the text of each domain as its tokens.

    Args:
        corpora: the text of each domain.
        config: names the tokenizer, and what of the text was left out.
        cache_dir: folder for tokenizers and tokens.
        events: receives "cache_damaged", "text_left_out", "heldout_text_repeats_training_text" and "tokenizer_trained"
            (each with a `message`), "tokenizer_smaller_than_asked" and one "domain" for each domain.
        is_stream: whether the domains are tasks, learned one after another, so that a tokenizer must not know all.
        tokenizer: use this one (of an earlier run) instead of the one that `config` names.

    Raises:
        UserError: the tokenizer cannot be had, or it loses text.
    """
    if tokenizer is None:
        tokenizer = _tokenizer_for(corpora, config, cache_dir, events, is_stream=is_stream)
    left_out = [words for corpus in corpora if (words := text_left_out(corpus.record, config))]
    if left_out:
        events.emit("text_left_out", message="; ".join(left_out))
    overlaps = overlaps_of(corpora)
    repeated = [
        words
        for corpus, overlap in zip(corpora, overlaps, strict=True)
        if (words := overlap_text(corpus.record["name"], overlap))
    ]
    if repeated:
        events.emit("heldout_text_repeats_training_text", message="; ".join(repeated))
    domains = [
        _tokenize(corpus, overlap, tokenizer, cache_dir, events)
        for corpus, overlap in zip(corpora, overlaps, strict=True)
    ]
    for domain in domains:
        events.emit("domain", **domain.summary)
    return tokenizer, domains


def text_left_out(record: dict[str, Any], config: DataConfig) -> str:
    """Return a sentence on the text of a domain that is neither learned nor evaluated on, and why; empty if none is."""
    name, there, read = record["name"], record["bytes_there"], record["bytes_read"]
    parts = []
    if there is None or there > read:
        of_all = "more" if there is None else f"{there:,}"
        reason = "equal and blank documents are left out"
        if record["is_capped"]:
            reason = f"--max-domain-bytes {config.max_domain_bytes}; 0 reads all"
        parts.append(f"{read:,} of {of_all} bytes of {name} are read ({reason})")
    if record["heldout_bytes_left_out"]:
        parts.append(
            f"{record['heldout_bytes_left_out']:,} held-out bytes of {name} are not evaluated on "
            f"(--max-heldout-bytes {config.max_heldout_bytes}; 0 uses all)"
        )
    return "; ".join(parts)


def _tokenizer_for(
    corpora: Sequence[Corpus], config: DataConfig, cache_dir: Path, events: EventLog, *, is_stream: bool
) -> Tokenizer:
    bpe = bpe_spec(config.tokenizer)
    # A vocabulary that knows the words of later tasks would know the future.
    sees_all = not is_stream or (bpe is not None and bpe.looks_ahead)
    seen = corpora if sees_all else corpora[:1]

    def training_texts() -> Iterator[bytes]:
        for corpus in seen:
            yield from corpus.documents("train")

    texts_hash = hash_of([corpus.split_hash("train") for corpus in seen])
    tokenizer = build_tokenizer(
        config.tokenizer, training_texts, texts_hash=texts_hash, cache_dir=cache_dir, events=events
    )
    if bpe is not None:
        events.emit("tokenizer_trained", message=_trained_on(config.tokenizer, seen, corpora))
        if tokenizer.vocab_size < bpe.size:
            events.emit("tokenizer_smaller_than_asked", asked=bpe.size, vocab_size=tokenizer.vocab_size)
    return tokenizer


def _trained_on(spec: str, seen: Sequence[Corpus], corpora: Sequence[Corpus]) -> str:
    names = ", ".join(corpus.name for corpus in seen)
    if len(seen) < len(corpora):
        return f"tokenizer {spec} knows the training text of the first task, {names}; {spec}:all would look ahead"
    return f"tokenizer {spec} knows the training text of {names}"


def _tokenize(corpus: Corpus, overlap: Overlap, tokenizer: Tokenizer, cache_dir: Path, events: EventLog) -> Domain:
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
    record = {**corpus.record, **overlap._asdict(), "tokenizer": tokenizer_hash(tokenizer)}
    return Domain(record["name"], train, heldout, record["content_hash"], record)
