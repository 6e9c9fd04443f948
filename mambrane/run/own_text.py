"""The text of a run: copies of what is held out, kept in its folder, and where the text is found again.

A run knows its text by its content. What the matrix needs is kept in the folder, so a run can be measured, reported and
taught more when its text is gone or its folder has moved; what is not kept is looked for in the cache and where the run
found it.
"""

from collections.abc import Sequence
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import Domain, read_texts, tokenize_texts
from mambrane.data.heldout_copy import token_file_of_copy, write_copy
from mambrane.data.tokenizer import Tokenizer
from mambrane.data.tokens import no_tokens, token_file_in_cache
from mambrane.run.saved import SavedRun
from mambrane.storage.run_folder import RunFolder


def keep_heldout_text(folder: RunFolder, texts: Sequence[Corpus], max_bytes: int, events: EventLog) -> None:
    """Keep a copy of what is held out of each text, up to `max_bytes` each, or say why not ("heldout_text_not_kept").

    Raises:
        StorageError: the disk refused.
    """
    left_out = []
    for text in texts:
        split = text.record["heldout"]
        if split["num_bytes"] > max_bytes:
            left_out.append(f"{text.name} ({split['num_bytes']:,} bytes)")
        else:
            write_copy(folder.heldout_folder, split["content_hash"], text.documents("heldout"))
    if left_out:
        message = (
            f"no copy of the held-out text of {', '.join(left_out)} is kept in {folder.path} "
            f"(--keep-heldout-bytes {max_bytes}): once that text is gone, later tasks are not measured on it"
        )
        events.emit("heldout_text_not_kept", message=message)


def domain_of_record(record: dict[str, Any], folder: RunFolder, tokenizer: Tokenizer) -> Domain:
    """Return a domain of the run by what domains.json says of it: splits that are found nowhere are empty.

    What is held out comes from the copy in the run's folder or from the cache, what is trained on from the cache.
    """
    train, heldout = (
        token_file_in_cache(texts_hash=record[split]["content_hash"], tokenizer=tokenizer, cache_dir=cache_folder())
        for split in ("train", "heldout")
    )
    kept = token_file_of_copy(folder.heldout_folder, record["heldout"]["content_hash"], tokenizer)
    empty_train, empty_heldout = (
        no_tokens(tokenizer, num_bytes=record[split]["num_bytes"], num_documents=record[split]["num_documents"])
        for split in ("train", "heldout")
    )
    return Domain(
        record["name"], train or empty_train, kept or heldout or empty_heldout, record["content_hash"], record
    )


def records_of_run(saved: SavedRun) -> list[dict[str, Any]]:
    """Return what domains.json says of the domains in the matrix, in its order; of one that it lacks, nothing."""
    known = {record["content_hash"]: record for record in read_domain_records(saved.folder.domains_file).records}
    return [{**known[content_hash], "name": name} for name, content_hash in saved.text.items() if content_hash in known]


def own_domains(saved: SavedRun) -> list[Domain]:
    """Return the domains of the matrix, and warn where that is not the text that the run was trained on.

    The copies in the run's folder come first. Where there is none, the text is read again where the run found it, or,
    known by its hash, taken from the cache.

    Raises:
        UserError: it is nowhere.
    """
    records = records_of_run(saved)
    if records and len(records) == len(saved.text):
        kept = [
            token_file_of_copy(saved.folder.heldout_folder, record["heldout"]["content_hash"], saved.tokenizer)
            for record in records
        ]
        if None not in kept:
            return [domain_of_record(record, saved.folder, saved.tokenizer) for record in records]
    return _domains_elsewhere(saved, records)


def _domains_elsewhere(saved: SavedRun, records: list[dict[str, Any]]) -> list[Domain]:
    """Return the domains of a run that has not kept all of its held-out text."""
    config, cache = saved.config, cache_folder()
    here = [domain_of_record(record, saved.folder, saved.tokenizer) for record in records]
    try:
        texts = read_texts(config.data, cache, saved.events)
    except UserError as error:
        if not here or not all(domain.is_measurable for domain in here):
            raise UserError(
                error.found,
                wanted="the text of the run where it was, in the cache, or kept in its folder",
                way_out="move it back, or run the train command again with the place where it lies now",
            ) from error
        saved.events.emit("warning", message=f"{error.found}; the run's own text is taken from the cache {cache}")
        return here
    _, found = tokenize_texts(texts, config.data, cache, saved.events, is_stream=False, tokenizer=saved.tokenizer)
    found = found[: config.num_domains]
    known = {domain.content_hash for domain in found}
    later = [domain for domain in here[len(found) :] if domain.content_hash not in known]
    known |= {domain.content_hash for domain in later if domain.is_measurable}
    changed = sorted(name for name, content_hash in saved.text.items() if content_hash not in known)
    if changed:
        sentence = f"the text of {', '.join(changed)} changed since the run was saved"
        saved.events.emit("warning", message=f"{sentence}: what is held out now may have been trained on")
    return [*found, *(domain for domain in later if domain.is_measurable)]
