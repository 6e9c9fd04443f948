"""A run knows its text by content hashes, and refuses another text or tokenizer by name."""

from dataclasses import replace

import pytest

from mambrane.continual.text_identity import refuse_another_text, refuse_another_tokenizer, text_identity
from mambrane.core.errors import UserError


def test_the_same_text_passes_and_what_an_earlier_version_did_not_say_is_not_asked_for(domains):
    saved = text_identity(domains[:2], domains[2:])
    refuse_another_text(saved, domains[:2], domains[2:])
    refuse_another_text({"text": saved["text"]}, domains[:2], ())


@pytest.mark.parametrize("place", [0, 2])
def test_other_text_in_a_task_or_outside_is_named(domains, place):
    saved = text_identity(domains[:2], domains[2:])
    now = list(domains)
    now[place] = replace(now[place], content_hash="other")
    with pytest.raises(UserError, match=f"the text of {domains[place].name} changed since the run was saved"):
        refuse_another_text(saved, now[:2], now[2:])


def test_another_tokenizer_is_refused_and_one_that_is_not_known_is_not():
    refuse_another_tokenizer({"tokenizer": "one"}, "one")
    refuse_another_tokenizer({"tokenizer": "one"}, "")
    refuse_another_tokenizer({}, "other")
    with pytest.raises(UserError, match="the tokenizer is not the one that the run was trained with"):
        refuse_another_tokenizer({"tokenizer": "one"}, "other")
