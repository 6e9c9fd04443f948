"""Where the text comes from and how it is cut. Free of torch, so that the command line can read it at once."""

from dataclasses import dataclass

from mambrane.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The text: domains, tokens, windows."""

    data: tuple[str, ...] = ("builtin",)
    """`builtin`, files or folders (one file or sub-folder is one domain), or hf:NAME for the Hugging Face hub."""
    tokenizer: str = "bytes"
    """`bytes`, `bpe:SIZE` (trained on the data, cached) or hf:NAME."""
    sequence_length: int = 256
    """Tokens in a training window."""
    batch_size: int = 8
    """Windows of text in a micro-batch."""
    max_domain_bytes: int = 0
    """Read at most this many bytes of text of each domain, whole files first; 0 reads all."""
    max_heldout_bytes: int = 0
    """Evaluate on at most this many bytes of each held-out split; 0 uses all."""
    heldout_fraction: float = 0.1
    """Part of each domain's text that is never trained on; split by file where a domain has several."""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("--data without a value", wanted="builtin, a path or hf:NAME", way_out="--data builtin")
        for name, value in (("sequence-length", self.sequence_length), ("batch-size", self.batch_size)):
            if value < 1:
                raise UserError(f"--{name} {value}", wanted="at least 1", way_out=f"--{name} 8")
        if not 0 < self.heldout_fraction < 1:
            raise UserError(
                f"--heldout-fraction {self.heldout_fraction}",
                wanted="between 0 and 1",
                way_out="--heldout-fraction 0.1",
            )
