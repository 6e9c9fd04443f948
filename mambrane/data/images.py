"""Sets of labelled images: IDX files, as MNIST and Fashion-MNIST come in, and scikit-learn's digits.

A folder holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each
as it is or as .gz. Format (Y. LeCun, "THE MNIST DATABASE"): two zero bytes, a type (8: unsigned bytes), the number of
dimensions, each dimension as a big-endian 32-bit number, then the values.
"""

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mambrane.core.errors import UserError
from mambrane.core.optional_package import optional_package
from mambrane.data.documents import READ_ERRORS

DIGITS = "digits"
"""What `--data` calls scikit-learn's digits: 1,797 images of 8 x 8."""
HELDOUT_DIGITS = 5
"""Every fifth of scikit-learn's digits, which come without a split, is held out."""
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "heldout": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UNSIGNED_BYTES = 8


class LabelledImages(NamedTuple):
    """One split."""

    images: np.ndarray
    """uint8 [N, rows, columns]."""
    labels: np.ndarray
    """uint8 [N]."""


@dataclass(frozen=True)
class ImageSet:
    """Training images and those that are held out, as the set itself parts them."""

    name: str
    train: LabelledImages
    heldout: LabelledImages

    @property
    def num_classes(self) -> int:
        """Classes, from 0."""
        return int(max(self.train.labels.max(), self.heldout.labels.max())) + 1


def is_image_data(locations: tuple[str, ...]) -> bool:
    """Return whether `--data` names images: digits, or a folder of IDX files."""
    return any(location == DIGITS or _has_idx_files(location) for location in locations)


def stamp_of(location: str) -> list[object]:
    """Return what a set of images is known by without reading it."""
    if location == DIGITS:
        return [DIGITS, HELDOUT_DIGITS]
    files = [_file(_folder(location), name) for names in FILES.values() for name in names]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def read_image_set(location: str) -> ImageSet:
    """Return the images at a place.

    Raises:
        UserError: scikit-learn is not installed, or a file is missing or damaged.
    """
    if location == DIGITS:
        return _digits()
    folder = _folder(location)
    splits = {split: _labelled(folder, *names) for split, names in FILES.items()}
    train, heldout = splits["train"], splits["heldout"]
    if train.images.shape[1:] != heldout.images.shape[1:]:
        raise UserError(
            f"--data {location}: images of {train.images.shape[1:]} and of {heldout.images.shape[1:]} pixels",
            wanted="images of one size",
            way_out="fetch the files again",
        )
    return ImageSet(folder.resolve().name, train, heldout)


def read_idx(path: Path, num_dimensions: int) -> np.ndarray:
    """Return the unsigned bytes in an IDX file, gzip or not.

    Raises:
        UserError: it is none, is cut off, or has other dimensions.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (*READ_ERRORS, ValueError) as error:
        raise _damaged(path, str(error)) from error
    head = struct.pack(">BBBB", 0, 0, _UNSIGNED_BYTES, num_dimensions)
    start = 4 + 4 * num_dimensions
    if content[:4] != head or len(content) < start:
        raise _damaged(path, f"it begins with {content[:4].hex() or 'nothing'}, and not with {head.hex()}")
    shape = struct.unpack(f">{num_dimensions}I", content[4:start])
    # Python's own numbers: three dimensions of 32 bits do not fit into 64.
    wanted = start
    for length in shape[:1]:
        wanted += length * int(np.prod(shape[1:], dtype=object) if len(shape) > 1 else 1)
    if len(content) != wanted or 0 in shape:
        raise _damaged(path, f"{len(content):,} bytes for {' x '.join(map(str, shape))} values")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _labelled(folder: Path, images_name: str, labels_name: str) -> LabelledImages:
    images, labels = read_idx(_file(folder, images_name), 3), read_idx(_file(folder, labels_name), 1)
    if len(images) != len(labels):
        raise _damaged(_file(folder, labels_name), f"{len(labels):,} labels for {len(images):,} images")
    return LabelledImages(images, labels)


def _folder(location: str) -> Path:
    """Return the folder that `--data` names; ~ is the home folder, as it is for text."""
    try:
        return Path(location).expanduser()
    # ~name of nobody: no folder, which whoever looks for one says.
    except RuntimeError:
        return Path(location)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    names = ", ".join(name for names in FILES.values() for name in names)
    raise UserError(f"--data {folder}: no {name}, nor {name}.gz", wanted=names, way_out="put the four files there")


def _has_idx_files(location: str) -> bool:
    folder = _folder(location)
    names = [name for pair in FILES.values() for name in pair]
    return any((folder / (name + suffix)).is_file() for name in names for suffix in ("", ".gz"))


def _digits() -> ImageSet:
    sklearn_datasets = optional_package(
        "sklearn.datasets",
        extra="vision",
        asked_for="--data digits",
        otherwise="--data FOLDER with IDX files as MNIST's",
    )
    data = sklearn_datasets.load_digits()
    # They have 17 levels, 0 to 16.
    images = np.minimum(data.images * 16, 255).astype(np.uint8)
    is_heldout = np.arange(len(images)) % HELDOUT_DIGITS == 0
    labels = data.target.astype(np.uint8)
    return ImageSet(
        DIGITS,
        LabelledImages(images[~is_heldout], labels[~is_heldout]),
        LabelledImages(images[is_heldout], labels[is_heldout]),
    )


def _damaged(path: Path, words: str) -> UserError:
    return UserError(f"{path}: {words}", wanted="a whole IDX file of unsigned bytes", way_out="fetch the file again")
