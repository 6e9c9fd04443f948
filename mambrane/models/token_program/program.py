"""A language model as one program for one token, with its state in place.

What `LanguageModel.forward` does for one sequence and one token, instruction by instruction (numba_cpu.py); tests hold
the two equal. The state has the order of ModelState: a text may be read by the model and written by the program.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambrane.kernels.vectors import LANES
from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.models.block import MixerBlock
from mambrane.models.blocks.hybrid import HybridBlock
from mambrane.models.blocks.spiking import SpikingBlock
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelState
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.blocks import write_block
from mambrane.models.token_program.layout import Layout, StatePart
from mambrane.models.token_program.scores import draw_from, log_probability


def why_no_program(model: LanguageModel) -> str:
    """Return why a model has no such program, as text; empty where it has one."""
    weight = model.embedding.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return f"{weight.dtype} on {weight.device}: programs are for float32 on a CPU"
    for block in model.stack:
        mixer = getattr(block, "mixer", None)
        if type(block) not in (MixerBlock, HybridBlock, SpikingBlock) or type(mixer) not in (Mamba, Mamba2, type(None)):
            return f"{type(block).__name__} has none"
    return ""


def warm_up() -> None:
    """Read the kernels of programs from the disk, or compile them."""
    memory, program = np.zeros(LANES, dtype=np.float32), np.zeros((0, vp.INSTRUCTION_NUMBERS), dtype=np.int64)
    vp.run_program(memory, program, 0)
    draw_from(memory, 0, 1, 1.0, 0.5)
    log_probability(memory, 0, 1, 0)


class TokenProgram:
    """Reads one text with a model, token by token."""

    def __init__(self, model: LanguageModel) -> None:
        """Copy the weights as they are now; what is trained later is not seen."""
        layout = Layout()
        self.vocab_size, dim = model.vocab_size, model.config.hidden_dim
        head = layout.matrix(model.head_weight)
        table, is_in_panels = (head, 1) if model.head is None else (layout.constant(model.embedding.weight), 0)
        x = layout.space(dim)
        layout.emit(vp.EMBED, x, table, dim, is_in_panels)
        for block in model.stack:
            write_block(layout, block, x)
        self._scores_offset = layout.product_into(head, layout.norm(model.norm, x, dim), self.vocab_size, dim)
        self._parts, self._states = layout.parts, layout.states
        self.memory = layout.memory()
        self._program = layout.program()

    def copy(self) -> "TokenProgram":
        """Return a program with a memory of its own, that stands where this one stands."""
        other = object.__new__(TokenProgram)
        other.__dict__.update(self.__dict__)
        other.memory = self.memory.copy()
        return other

    def read(self, token: int) -> None:
        """Read one token; `scores` are then those of the next."""
        vp.run_program(self.memory, self._program, token)

    def log_probability(self, token: int) -> float:
        """Return ln p of a token, had it come next."""
        return log_probability(self.memory, self._scores_offset, self.vocab_size, token)

    def draw(self, temperature: float, point: float, num_tokens: int) -> int:
        """Return the token, among the first so many, whose share of the unit interval holds a point."""
        return draw_from(self.memory, self._scores_offset, num_tokens, temperature, point)

    def forget(self) -> None:
        """Start from nothing."""
        for start, size in self._states:
            self.memory[start : start + size] = 0.0

    @property
    def scores(self) -> np.ndarray:
        """Scores of the next token [V], a view."""
        return self.memory[self._scores_offset : self._scores_offset + self.vocab_size]

    def load(self, state: ModelState) -> None:
        """Go on from a state of one sequence."""
        for tensor, part in zip(_tensors(state), self._parts, strict=True):
            numbers = tensor[0].permute(*part.order).float().numpy()
            self._room(part)[..., : numbers.shape[-1]] = numbers

    def state_like(self, template: ModelState) -> ModelState:
        """Return the state as a model takes it; `template` is any state of that model."""
        parts = iter(self._parts)

        def built(tree: Any) -> Any:  # noqa: ANN401 -- any tree of states
            if isinstance(tree, Tensor):
                return self._tensor(tree, next(parts))
            if tree is None:
                return None
            items = [built(item) for item in tree]
            return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)

        return built(template)

    def _tensor(self, like: Tensor, part: StatePart) -> Tensor:
        numbers = self._room(part)[..., : like.shape[1 + part.order[-1]]].copy()
        back = np.argsort(part.order).tolist()
        return torch.from_numpy(numbers).permute(*back).to(like.dtype).unsqueeze(0).contiguous()

    def _room(self, part: StatePart) -> np.ndarray:
        return self.memory[part.start : part.start + part.size].reshape(part.shape)


def _tensors(tree: Any) -> Iterator[Tensor]:  # noqa: ANN401 -- any tree of states
    """Yield the tensors of a state in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif tree is not None:
        for item in tree:
            yield from _tensors(item)
