"""Where everything of a program stands in memory, and the instructions as they are written one after the other."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mambrane.kernels.vectors import LANES
from mambrane.layers.norm import RmsNorm
from mambrane.models.token_program import numba_cpu as vp


class StatePart(NamedTuple):
    """Where a tensor of the state stands, without its batch."""

    start: int
    shape: tuple[int, ...]
    """As it stands; the last axis may have room to spare."""
    order: tuple[int, ...]
    """Which axis of the tensor stands where."""

    @property
    def size(self) -> int:
        """Numbers that it takes."""
        return math.prod(self.shape)


class Layout:
    """Hands out memory and takes instructions down."""

    def __init__(self) -> None:
        self.constants: list[tuple[int, np.ndarray]] = []
        self.instructions: list[list[int]] = []
        self.end = 0
        self.parts: list[StatePart] = []
        """Tensors of the state, in the order of ModelState."""
        self.states: list[tuple[int, int]] = []
        """Start and size of what is cleared where a document starts."""

    def emit(self, kind: int, *numbers: int) -> None:
        """Write an instruction."""
        self.instructions.append([kind, *numbers])

    def space(self, size: int, *, multiple: int = LANES) -> int:
        """Make room for a vector and return where it is."""
        start = self.end
        # A vector more: one that starts inside another may be read beyond its end.
        self.end += -(-size // multiple) * multiple + LANES
        return start

    def constant(self, values: Tensor | Sequence[float] | float, *, multiple: int = LANES) -> int:
        """Place numbers that stay as they are."""
        numbers = np.asarray(torch.as_tensor(values).detach().float().numpy()).reshape(-1).copy()
        start = self.space(numbers.size, multiple=multiple)
        self.constants.append((start, numbers))
        return start

    def rows(self, matrix: Tensor) -> int:
        """Place the rows of a matrix, each in whole vectors."""
        width = -(-matrix.shape[1] // LANES) * LANES
        return self.constant(nn.functional.pad(matrix.detach(), (0, width - matrix.shape[1])))

    def matrix(self, weight: Tensor) -> int:
        """Place a matrix in panels."""
        rows, columns = weight.shape
        panels = -(-rows // vp.PANEL_ROWS)
        padded = nn.functional.pad(weight.detach(), (0, 0, 0, panels * vp.PANEL_ROWS - rows))
        return self.constant(padded.view(panels, vp.PANEL_ROWS, columns).transpose(1, 2))

    def state_of(self, *shape: int, order: tuple[int, ...] | None = None) -> int:
        """Make room for a tensor of the state; `order` says how its axes stand, the last one in whole vectors."""
        order = tuple(range(len(shape))) if order is None else order
        standing = [shape[axis] for axis in order]
        if order != tuple(range(len(shape))) or len(shape) == 1:
            standing[-1] = -(-standing[-1] // LANES) * LANES
        part = StatePart(self.space(math.prod(standing)), tuple(standing), order)
        self.parts.append(part)
        self.states.append((part.start, part.size))
        return part.start

    def cache_of(self, window: int, size: int) -> int:
        """Make room for keys, values, which slots are valid, and behind them for scores."""
        start = self.end
        for shape in ((window, size), (window, size), (window,)):
            self.parts.append(StatePart(self.end, shape, tuple(range(len(shape)))))
            self.end += math.prod(shape)
        self.end += 2 * (-(-window // LANES) * LANES)
        self.states.append((start, self.end - start))
        self.end += -self.end % LANES
        return start

    def product_into(self, matrix: int, x: int, rows: int, columns: int, *, bias: int = vp.NOWHERE, of: int = 0) -> int:
        """Return a product with a matrix in panels, of its first columns where it has more, `of` in all."""
        out = self.space(rows, multiple=vp.PANEL_ROWS)
        self.emit(vp.PRODUCT, out, matrix, x, bias, rows, columns, of or columns)
        return out

    def linear(self, layer: nn.Linear, x: int) -> int:
        """Return what a layer gives."""
        rows, columns = layer.weight.shape
        bias = vp.NOWHERE if layer.bias is None else self.constant(layer.bias, multiple=vp.PANEL_ROWS)
        return self.product_into(self.matrix(layer.weight), x, rows, columns, bias=bias)

    def norm(self, norm: RmsNorm | None, x: int, size: int) -> int:
        """Return a normalised vector."""
        out = self.space(size)
        weight = vp.NOWHERE if norm is None else self.constant(norm.weight)
        self.emit(vp.RMS_NORM, out, x, weight, size, 1 if norm is None else norm.groups)
        return out

    def memory(self) -> np.ndarray:
        """Return memory with all constants in their places; everything else is zero."""
        memory = np.zeros(self.end, dtype=np.float32)
        for start, numbers in self.constants:
            memory[start : start + numbers.size] = numbers
        return memory

    def program(self) -> np.ndarray:
        """Return the instructions as a table."""
        width = vp.INSTRUCTION_NUMBERS
        return np.array([row + [0] * (width - len(row)) for row in self.instructions], dtype=np.int64)
