"""Where the text comes from and how it is cut. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass
from typing import Annotated

from mambrane.core.bounds import Bounds, Bytes, check_settings
from mambrane.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The text: domains, tokens, windows."""

    data: tuple[str, ...] = ("builtin",)
    """`builtin`, files or folders (one file or sub-folder is one domain), or hf:NAME for the Hugging Face hub."""
    tokenizer: str = "bytes"
    """`bytes`, `bpe:SIZE` (trained on the data, cached), hf:NAME or the path of a tokenizer.json."""
    sequence_length: Annotated[int, Bounds(1, 1_048_576)] = 256
    """Tokens in a training window."""
    batch_size: Annotated[int, Bounds(1, 1_048_576)] = 8
    """Windows of text in a micro-batch."""
    max_domain_bytes: Bytes = 0
    """Read at most this many bytes of text of each domain, a fair sample of its files; 0 reads all."""
    max_heldout_bytes: Bytes = 0
    """Evaluate on at most this many bytes of each held-out split; 0 uses all."""
    heldout_fraction: Annotated[float, Bounds(0, 1, "both")] = 0.1
    """Part of each domain's text that is never trained on; split by file where a domain has several."""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("--data without a value", wanted="builtin, a path or hf:NAME", way_out="--data builtin")
        check_settings(self)
        check_tokenizer_spec(self.tokenizer)

    @property
    def has_own_text(self) -> bool:
        """Whether some of the text is in files of one's own, which may lie anywhere."""
        return any(location != "builtin" and not location.startswith("hf:") for location in self.data)


def check_tokenizer_spec(spec: str) -> None:
    """Raise UserError unless `spec` is a name that `--tokenizer` takes; whether it can be loaded shows later."""
    size = spec.removeprefix("bpe:")
    if size != spec and not (size.isdecimal() and int(size) >= 257):
        raise UserError(
            f"--tokenizer {spec}",
            wanted="bpe:SIZE with a size of at least 257 (256 bytes and END_OF_TEXT)",
            way_out="--tokenizer bpe:4096",
        )
    is_hub_name = spec.startswith("hf:") and spec != "hf:"
    if not (spec == "bytes" or size != spec or is_hub_name or spec.endswith(".json")):
        raise UserError(
            f"--tokenizer {spec}",
            wanted="bytes, bpe:SIZE, hf:NAME or the path of a tokenizer.json",
            way_out="--tokenizer bytes",
        )
