"""A tokenizer written as the field's files comes back equal, and other readers see the same tokens."""

import json

import pytest
import tokenizers

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.subword import trained_bpe
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokenizer_files import read_tokenizer_files, tokenizer_files

TEXT = "def hé(x):\n    return '<|endoftext|> \x00\ufffd'\n".encode()


def bpe(folder):
    return trained_bpe("bpe:300", lambda: iter([TEXT * 20]), texts_hash="x", cache_dir=folder, events=EventLog())


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_what_is_read_gives_the_tokens_of_what_was_written(kind, tmp_path):
    tokenizer = BytesTokenizer() if kind == "bytes" else bpe(tmp_path / "cache")
    for name, content in tokenizer_files(tokenizer).items():
        (tmp_path / name).write_text(content)
    read = read_tokenizer_files(tmp_path)
    assert (read.name, read.vocab_size, read.end_of_text) == (
        tokenizer.name,
        tokenizer.vocab_size,
        tokenizer.end_of_text,
    )
    assert read.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert read.decode(read.encode(TEXT)) == TEXT


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_the_library_reads_the_same_tokens_and_knows_the_end(kind, tmp_path):
    tokenizer = BytesTokenizer() if kind == "bytes" else bpe(tmp_path)
    files = tokenizer_files(tokenizer)
    theirs = tokenizers.Tokenizer.from_str(files["tokenizer.json"])
    plain = "def hé(x):\n"
    assert theirs.encode(plain).ids == tokenizer.encode(plain.encode()).tolist()
    end = json.loads(files["tokenizer_config.json"])["eos_token"]
    assert theirs.token_to_id(end) == tokenizer.end_of_text


def test_a_folder_without_a_tokenizer_has_none_and_a_damaged_one_is_refused(tmp_path):
    assert read_tokenizer_files(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json: cannot be read"):
        read_tokenizer_files(tmp_path)
