"""Tiny sets of images in IDX files."""

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(values: np.ndarray) -> bytes:
    """Return the content of an IDX file of unsigned bytes."""
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


def write_images(folder: Path, *, num_classes: int = 4, per_class: int = 12, as_gzip: bool = False) -> Path:
    """Write images of 4 x 4 pixels whose class can be seen: class c has its c-th row and column bright, and noise."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for split, count in (("train", per_class), ("t10k", 4)):
        labels = np.tile(np.arange(num_classes), count)
        images = draw.integers(0, 100, size=(len(labels), 4, 4))
        for image, label in zip(images, labels, strict=True):
            image[label % 4] = 255
        write_split(folder, split, images, labels, as_gzip=as_gzip)
    return folder


def write_split(folder: Path, split: str, images: np.ndarray, labels: np.ndarray, *, as_gzip: bool = False) -> None:
    """Write the two files of a split, "train" or "t10k"."""
    for name, values in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
        content = idx_bytes(values)
        path = folder / (f"{name}.gz" if as_gzip else name)
        path.write_bytes(gzip.compress(content) if as_gzip else content)
