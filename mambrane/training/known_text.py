"""The text of a run that is gone on with: of each domain that a checkpoint knows, as far as it is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mambrane.continual.stream import Stream, stream_of_records
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import Domain, read_texts, tokenize_texts
from mambrane.data.tokenizer import Tokenizer
from mambrane.run.own_text import domain_of_record
from mambrane.settings.config import RunConfig
from mambrane.storage.run_folder import RunFolder
from mambrane.training.place import Place


def known_stream(
    place: Place, folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, at_hand: Sequence[Domain]
) -> Stream:
    """Return the tasks that a checkpoint knows, with their text as far as it is needed.

    Held-out text comes from the copies in the folder; text to learn from is asked for only where a task is left.

    Raises:
        UserError: the text of a task that is left is nowhere.
    """
    found, damage = read_domain_records(folder.domains_file)
    records = {record["content_hash"]: record for record in found}
    texts = {domain.content_hash: domain for domain in at_hand}
    left = {column for task in place.tasks_left for column in task["read_columns"]}
    domains = []
    for column, (name, content_hash) in enumerate(place.text.items()):
        domain = texts.get(content_hash)
        if domain is None and content_hash not in records:
            raise UserError(
                f"the text of {name} changed since the run was saved"
                if damage is None
                else f"{damage}; {name} is not found",
                wanted="the text that the run started with",
                way_out="restore it, or start a new run in another --output-dir",
            )
        if domain is None:
            domain = domain_of_record(records[content_hash], folder, tokenizer)
        if domain is None or (column in left and domain.train.num_tokens == 0):
            domain = _read_again(records[content_hash], config, tokenizer)
        if domain is None:
            raise UserError(
                f"{folder.path} is in the midst of learning {name}, and that text is neither where it was nor in the "
                "cache",
                wanted="the text of the task that is not finished",
                way_out=f"mambrane learn {folder.path} --data with the place where the text lies now",
            )
        num_tokens = place.state.get("train_tokens", {}).get(name, 0)
        domains.append(replace(domain, name=name, known_train_tokens=num_tokens))
    return stream_of_records(place.tasks, domains)


def text_of_beginning(began: RunConfig, tokenizer: Tokenizer) -> list[Domain]:
    """Return the text that a run began with, if it is still where the run found it."""
    return _read_where(began.data.data, began, tokenizer)


def _read_again(record: Mapping[str, Any], config: RunConfig, tokenizer: Tokenizer) -> Domain | None:
    """Return a text read where the run found it, or None where it is not there any more."""
    found = _read_where(record.get("data", config.data.data), config, tokenizer, record["content_hash"])
    return found[0] if found else None


def _read_where(
    locations: Sequence[str], config: RunConfig, tokenizer: Tokenizer, only: str | None = None
) -> list[Domain]:
    """Return the text in these places, or the one of this content hash; none where it cannot be read."""
    data = replace(config.data, data=tuple(locations))
    try:
        texts = read_texts(data, cache_folder(), EventLog())
        texts = [text for text in texts if only in (None, text.content_hash)]
        if not texts:
            return []
        _, domains = tokenize_texts(texts, data, cache_folder(), EventLog(), is_stream=True, tokenizer=tokenizer)
    except UserError:
        return []
    return domains
