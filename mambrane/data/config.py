"""Where the text comes from and how it is cut. Free of torch, so that the command line can read it at once."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from mambrane.core.bounds import Bounds, Bytes, check_settings
from mambrane.core.errors import UserError
from mambrane.core.needs import Needs
from mambrane.core.printable import printable_path

_IMAGES = Needs("--task vision", lambda run: run.run.task == "vision")

MAX_VOCABULARY = 1_000_000
"""Tokens that a tokenizer may have; the largest ones in use have a quarter of that."""
INITIAL_TOKENIZER = "init"
"""Names the tokenizer of the model that a run starts from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The text: domains, tokens, sequences."""

    data: tuple[str, ...] = ("builtin",)
    """`builtin`, files or folders (one file or sub-folder is one domain), or hf:NAME for the Hugging Face hub; with
    --task vision `digits`, or a folder of IDX files."""
    reference_text: tuple[str, ...] = ()
    """Text outside the tasks, never trained on: files, folders, hf:NAME. Measured after each task, it shows what drifts
    beside them."""
    tokenizer: str = "bytes"
    """`bytes`; `bpe:SIZE`, trained on the first task's text; `bpe:SIZE:all`, trained on every task's text, which looks
    ahead; hf:NAME; the path of a tokenizer.json; or `init`, that of --init-from."""
    sequence_length: Annotated[int, Bounds(1, 1_048_576)] = 256
    """Tokens in a training sequence."""
    batch_size: Annotated[int, Bounds(1, 1_048_576)] = 8
    """Sequences of text in a micro-batch."""
    epoch_tokens: Annotated[int, Bounds(0, 1_000_000_000_000)] = 0
    """Most tokens in an epoch: it goes on in the text where the last one stopped, until all of it has been read once;
    then in a new order. 0: the whole text. Of all domains as one task, an epoch is as long as a domain's on average."""
    task_order: tuple[str, ...] = ()
    """Domains that come first, in this order, each by its name or its place (1 is the first); left out: as --data has
    them."""
    max_domain_bytes: Bytes = 0
    """Read at most this many bytes of text of each domain, a fair sample of its files; 0 reads all."""
    max_heldout_bytes: Bytes = 0
    """Evaluate on at most this many bytes of each held-out split; 0 uses all."""
    keep_heldout_bytes: Annotated[int, Bounds(0, 2**62, meaning_of_0="off")] = 16 * 2**20
    """Keep a copy of each held-out split of at most this size in the run's folder, so that later tasks can be measured
    when the text is gone; 0 keeps none. A larger split is not kept: a part of it would be another measure."""
    scenario: Annotated[Literal["domain", "class"], _IMAGES] = "domain"
    """Labels of images: those of the task (domain-incremental), or of all classes (class-incremental)."""
    classes_per_task: Annotated[int, Bounds(1, 256), _IMAGES] = 2
    """Classes of images that are learned as one task, in the order of their numbers."""
    image_tokens: Annotated[Literal["bits", "patches", "pixels"], _IMAGES] = "bits"
    """A token of an image: eight pixels, each black or white (bits); a square of 4 x 4 pixels, four greys in each of
    its quarters (patches); or one pixel of 256 levels."""
    image_shift_pixels: Annotated[float, Bounds(0, 64, meaning_of_0="off"), _IMAGES] = 0.0
    """Move each image, each time it is learned, by up to this far in each direction, at random; 0 is off."""
    image_rotation_degrees: Annotated[float, Bounds(0, 180, meaning_of_0="off"), _IMAGES] = 0.0
    """Turn each image, each time it is learned, by up to this much to either side, at random; 0 is off."""
    image_stretch: Annotated[float, Bounds(0, 0.9, meaning_of_0="off"), _IMAGES] = 0.0
    """Stretch or shrink each image along each axis, each time it is learned, by up to this part, at random; 0 is
    off."""
    heldout_fraction: Annotated[float, Bounds(0, 1, "both")] = 0.1
    """Part of each domain's text that is never trained on; split by file where a domain has several."""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("--data without a value", wanted="builtin, a path or hf:NAME", way_out="--data builtin")
        check_settings(self)
        check_tokenizer_spec(self.tokenizer)

    @property
    def augments_images(self) -> bool:
        """Whether images are changed as they are learned."""
        return self.image_shift_pixels > 0 or self.image_rotation_degrees > 0 or self.image_stretch > 0

    @property
    def has_own_text(self) -> bool:
        """Whether some of the text is in files of one's own, which may lie anywhere."""
        return any(location != "builtin" and not location.startswith("hf:") for location in self.data)


class BpeSpec(NamedTuple):
    """What bpe:SIZE or bpe:SIZE:all asks for."""

    size: int
    """Tokens in the vocabulary at most, END_OF_TEXT included."""
    looks_ahead: bool
    """Trained on the text of all tasks, those to come included."""


def bpe_spec(spec: str) -> BpeSpec | None:
    """Return what a name of a trained tokenizer asks for, or None for any other name."""
    match = re.fullmatch(r"bpe:([0-9]{1,9})(:all)?", spec)
    return BpeSpec(int(match[1]), match[2] is not None) if match else None


def check_tokenizer_of_task(task: str, tokenizer: str) -> None:
    """Raise UserError for images in anything but bytes; what `init` stands for shows when the weights are there."""
    if task == "vision" and tokenizer not in ("bytes", INITIAL_TOKENIZER):
        raise UserError(
            f"--task vision with --tokenizer {printable_path(tokenizer)}: images are no text",
            wanted="--tokenizer bytes: a token of an image is a byte",
            way_out="--tokenizer bytes",
        )


def check_tokenizer_spec(spec: str) -> None:
    """Raise UserError unless `spec` is a name that `--tokenizer` takes; whether it can be loaded shows later."""
    bpe = bpe_spec(spec)
    if spec.startswith("bpe:") and (bpe is None or not 257 <= bpe.size <= MAX_VOCABULARY):
        raise UserError(
            f"--tokenizer {spec}",
            wanted="bpe:SIZE or bpe:SIZE:all with a size of at least 257 (256 bytes and END_OF_TEXT), "
            f"at most {MAX_VOCABULARY:,}",
            way_out="--tokenizer bpe:4096",
        )
    is_hub_name = spec.startswith("hf:") and spec != "hf:"
    if not (spec in ("bytes", INITIAL_TOKENIZER) or bpe or is_hub_name or spec.endswith(".json")):
        raise UserError(
            f"--tokenizer {spec}",
            wanted="bytes, bpe:SIZE, bpe:SIZE:all, hf:NAME or the path of a tokenizer.json",
            way_out="--tokenizer bytes",
        )
