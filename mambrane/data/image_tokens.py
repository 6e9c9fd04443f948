"""Images as tokens, a byte each, and tokens as the picture elements that a model can tell apart.

    kind       a picture element                                   a byte
    bits       a pixel, 1 from half of the brightest value on      eight of them, in reading order
    patches    a square of 2 x 2 pixels, its mean as 0 to 3        a square of 2 x 2 of them
    pixels     a pixel, 0 to 255                                   one

Elements are uint8 [N, R, C]: R and C are the rows and columns of the image, or half of them.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ImageTokens = Literal["bits", "patches", "pixels"]
HALF = 128
BRIGHTEST = {"bits": 1, "patches": 3, "pixels": 255}
"""The largest value of an element."""
ELEMENT_PIXELS = {"bits": 1, "patches": 2, "pixels": 1}
"""Pixels along the side of an element."""


def elements_of(images: Tensor, kind: ImageTokens) -> Tensor:
    """Return the elements of images, uint8 [N, rows, columns]; beyond the right and lower edge a patch is black."""
    if kind == "bits":
        return (images >= HALF).to(torch.uint8)
    if kind == "pixels":
        return images
    rows, columns = images.shape[1:]
    whole = F.pad(images, (0, -columns % 4, 0, -rows % 4))
    squares = whole.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    # The mean of four whole numbers, in steps of 64.
    return (squares.sum(dim=(2, 4)) // 4 // 64).to(torch.uint8)


def tokens_of(elements: Tensor, kind: ImageTokens) -> Tensor:
    """Return the bytes of elements, uint8 [N, L]."""
    if kind == "pixels":
        return elements.flatten(1)
    if kind == "bits":
        flat = elements.flatten(1)
        return _packed(F.pad(flat, (0, -flat.shape[1] % 8)).unflatten(1, (-1, 8)), bits=1)
    # [N, row, upper or lower, column, left or right]: the upper left element stands in the highest bits.
    squares = elements.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return _packed(squares.transpose(2, 3).flatten(3), bits=2).flatten(1)


def elements_of_tokens(tokens: Tensor, kind: ImageTokens, rows: int, columns: int) -> Tensor:
    """Return the elements, uint8 [N, rows, columns], that bytes [N, L] hold."""
    if kind == "pixels":
        return tokens.unflatten(1, (rows, columns))
    if kind == "bits":
        return _unpacked(tokens, bits=1).flatten(1)[:, : rows * columns].unflatten(1, (rows, columns))
    squares = _unpacked(tokens.unflatten(1, (rows // 2, columns // 2)), bits=2).unflatten(3, (2, 2))
    return squares.transpose(2, 3).flatten(3).flatten(1, 2)


def _packed(values: Tensor, *, bits: int) -> Tensor:
    """Return the bytes whose bits are the values of the last dimension, the first in the highest bits."""
    places = torch.arange(8 - bits, -1, -bits, device=values.device)
    return (values.long() << places).sum(dim=-1).to(torch.uint8)


def _unpacked(tokens: Tensor, *, bits: int) -> Tensor:
    """Return the values that `_packed` made bytes of, in a new last dimension."""
    places = torch.arange(8 - bits, -1, -bits, device=tokens.device)
    return (tokens.long()[..., None] >> places & (1 << bits) - 1).to(torch.uint8)
