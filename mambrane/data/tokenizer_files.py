"""A tokenizer as the files that the field knows: tokenizer.json and tokenizer_config.json.

tokenizer.json is that of the library `tokenizers`, with END_OF_TEXT among its special tokens, so transformers opens it
and gives the same tokens; bytes are written as a byte-level BPE without merges. tokenizer_config.json says in a part of
its own which tokenizer of ours it was, so that what is opened again is equal to what was saved.
"""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from mambrane.core.errors import UserError
from mambrane.data.subword import SubwordTokenizer, byte_stand_ins, end_of_text_in
from mambrane.data.tokenizer import BytesTokenizer, Tokenizer

TOKENIZER_FILE, SETTINGS_FILE = "tokenizer.json", "tokenizer_config.json"
OWN_PART = "mambrane"
END_OF_TEXT = "<|endoftext|>"


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the content of each file by its name."""
    state = tokenizer.state_dict()
    written = _byte_level() if state["kind"] == "bytes" else tokenizers.Tokenizer.from_str(state["tokenizer"])
    end = written.id_to_token(tokenizer.end_of_text)
    if end is None:
        end = END_OF_TEXT
        written.add_special_tokens([END_OF_TEXT])
        assert written.token_to_id(end) == tokenizer.end_of_text, "it stands behind the last piece"
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        OWN_PART: {"kind": state["kind"], "name": tokenizer.name, "end_of_text": tokenizer.end_of_text},
    }
    return {TOKENIZER_FILE: written.to_str(pretty=True), SETTINGS_FILE: json.dumps(settings, indent=2) + "\n"}


def read_tokenizer_files(folder: Path, settings: dict[str, Any] | None = None) -> Tokenizer | None:
    """Return the tokenizer whose files lie in a folder, or None where there is none.

    Args:
        folder: with tokenizer.json, ours or published.
        settings: the config.json beside it, whose eos_token_id ends a published text.

    Raises:
        UserError: the files cannot be read.
    """
    file = folder / TOKENIZER_FILE
    if not file.exists():
        return None
    try:
        own = {}
        if (folder / SETTINGS_FILE).exists():
            own = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")).get(OWN_PART, {})
        if own.get("kind") == "bytes":
            return BytesTokenizer()
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        published_end = (settings or {}).get("eos_token_id")
        end = own.get("end_of_text", published_end if isinstance(published_end, int) else None)
        name = own.get("name", str(file))
        return SubwordTokenizer(name, tokenizer.to_str(), end_of_text=end_of_text_in(tokenizer) if end is None else end)
    # The library raises plain Exception for a definition that it cannot read.
    except Exception as error:
        raise UserError(
            f"{file}: cannot be read ({type(error).__name__}: {error})",
            wanted="a tokenizer.json of the library tokenizers",
            way_out="restore the file from a copy",
        ) from error


def _byte_level() -> tokenizers.Tokenizer:
    """Return the tokenizer of the library that gives each byte its number."""
    tokenizer = tokenizers.Tokenizer(
        BPE(vocab={character: byte for byte, character in byte_stand_ins().items()}, merges=[])
    )
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer
