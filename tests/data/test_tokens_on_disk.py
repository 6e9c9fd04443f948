"""Tokens that stay on disk."""

import os

import numpy as np
import pytest

from mambrane.core.errors import UserError
from mambrane.data import tokens_on_disk
from mambrane.data.tokens_on_disk import TokensOnDisk, open_tokens

DTYPE = np.dtype("<u2")
TOKENS = np.arange(1000, dtype=DTYPE)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "tokens.bin").write_bytes(TOKENS.tobytes())
    return tmp_path / "tokens.bin"


@pytest.mark.parametrize(
    "piece", [slice(None), slice(5), slice(7, 300), slice(990, 2000), slice(-3, None), slice(9, 2)]
)
def test_a_slice_is_that_of_the_array(path, piece):
    on_disk = TokensOnDisk(path, DTYPE)
    assert len(on_disk) == len(TOKENS)
    assert on_disk[piece].tolist() == TOKENS[piece].tolist()


def test_few_tokens_are_read_into_memory_where_nothing_changes_them(path):
    tokens = open_tokens(path, DTYPE)
    path.write_bytes(b"")
    assert np.array_equal(tokens, TOKENS)


def test_a_file_that_shrinks_is_an_error_with_words_and_not_the_end_of_the_process(path, monkeypatch):
    monkeypatch.setattr(tokens_on_disk, "MAX_BYTES_IN_MEMORY", 100)
    tokens = open_tokens(path, DTYPE)
    assert isinstance(tokens, TokensOnDisk)
    os.truncate(path, 500)
    assert tokens[:250].tolist() == TOKENS[:250].tolist()
    with pytest.raises(UserError, match=r"tokens\.bin became shorter while it was in use(.|\n)*same command again"):
        tokens[200:300]


def test_a_file_whose_folder_is_replaced_stays_readable(path):
    tokens = TokensOnDisk(path, DTYPE)
    path.unlink()
    assert tokens[3:5].tolist() == [3, 4]
