"""By what a resumed run knows its text, and refuses another: content hashes of domains, and that of the tokenizer.

How many tokens each domain has to learn from is kept beside them, as the text may be gone when it is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mambrane.core.errors import UserError
from mambrane.data.domains import Domain


def text_identity(domains: Sequence[Domain], reference: Sequence[Domain]) -> dict[str, Any]:
    """Return what a checkpoint keeps of the text of a run, and of that outside its tasks."""
    return {
        "text": _hashes(domains),
        "reference_text": _hashes(reference),
        "tokenizer": domains[0].tokenizer_hash,
        "train_tokens": {domain.name: domain.num_train_tokens for domain in domains},
    }


def refuse_another_text(saved: Mapping[str, Any], domains: Sequence[Domain], reference: Sequence[Domain]) -> None:
    """Raise UserError if the text, or what makes tokens of it, is not what it was when the run was saved.

    `saved` is as `text_identity` gave it; earlier versions did not say all of it.
    """
    here = text_identity(domains, reference)
    changed = {
        name
        for part in ("text", "reference_text")
        for name in here[part].keys() | saved.get(part, {}).keys()
        if here[part].get(name) != saved.get(part, {}).get(name)
    }
    if changed:
        raise UserError(
            f"the text of {', '.join(sorted(changed))} changed since the run was saved",
            wanted="the text that the run started with",
            way_out="restore it, or start a new run in another --output-dir",
        )
    refuse_another_tokenizer(saved, here["tokenizer"])


def refuse_another_tokenizer(saved: Mapping[str, Any], tokenizer_hash: str) -> None:
    """Raise UserError if the run was saved with another tokenizer; earlier versions do not say with which."""
    if saved.get("tokenizer") and tokenizer_hash and saved["tokenizer"] != tokenizer_hash:
        raise UserError(
            "the tokenizer is not the one that the run was trained with: equal numbers stand for other text",
            wanted="the tokenizer.json that the run wrote",
            way_out="restore the file from a copy; or remove it and run the train command again, which makes it anew",
        )


def _hashes(domains: Sequence[Domain]) -> dict[str, str]:
    return {domain.name: domain.content_hash for domain in domains}
