"""What `DataConfig` refuses."""

import pytest

from mambrane.core.errors import UserError
from mambrane.data.config import DataConfig


@pytest.mark.parametrize(
    "spec", ["bytes", "bpe:257", "bpe:32000", "bpe:512:all", "hf:gpt2", "hf:owner/name", "a/tokenizer.json"]
)
def test_known_tokenizers_are_taken(spec):
    assert DataConfig(tokenizer=spec).tokenizer == spec


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "byte",
        "bpe",
        "bpe:",
        "bpe:256",
        "bpe:-1",
        "bpe:4k",
        "bpe:300:some",
        "bpe:256:all",
        "bpe:1000001",
        "bpe:999999999",
        "bpe:" + "9" * 5000,
        "hf:",
        "gpt2",
    ],
)
def test_other_tokenizers_are_refused_before_any_text_is_read(spec):
    with pytest.raises(UserError, match="way out: --tokenizer b"):
        DataConfig(tokenizer=spec)


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": ()},
        {"sequence_length": 0},
        {"batch_size": 0},
        {"max_domain_bytes": -1},
        {"epoch_tokens": -1},
        {"max_heldout_bytes": -5},
        {"heldout_fraction": 0.0},
        {"heldout_fraction": 1.0},
    ],
)
def test_impossible_numbers_are_refused_by_the_name_of_their_flag(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')}"):
        DataConfig(**wrong)
