"""One call of each operation at the sizes of the base preset, on any device: for parity and for time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mambrane.ops import causal_conv, causal_trace, gated_norm, gated_skip, lif, selective_scan, ssd, windowed_attention
from mambrane.ops.linear_cross_entropy import linear_cross_entropy


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a micro-batch and a block."""

    batch: int = 8
    tokens: int = 256
    width: int = 512
    expanded: int = 1024
    states: int = 32
    units: int = 128
    vocabulary: int = 8192


@dataclass(frozen=True)
class Call:
    """An operation with its inputs; gradients flow to those of floating type."""

    run: Callable[..., Any]
    inputs: Sequence[Tensor]
    options: dict[str, Any]

    def moved(self, device: torch.device, dtype: torch.dtype) -> "Call":
        """Return the same call elsewhere, floating inputs in another type."""
        inputs = [each.to(device, dtype if each.is_floating_point() else each.dtype).detach() for each in self.inputs]
        options = {name: each.to(device) if isinstance(each, Tensor) else each for name, each in self.options.items()}
        return Call(self.run, [each.requires_grad_(each.is_floating_point()) for each in inputs], options)

    def outputs(self, backend: str = "auto") -> list[Tensor]:
        """Return the outputs that are tensors."""
        found = self.run(*self.inputs, **self.options, backend=backend)
        found = found if isinstance(found, tuple) else (found,)
        return [each for each in found if isinstance(each, Tensor)]

    def gradients(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of all inputs, for ones as those of the first output."""
        wanted = [each for each in self.inputs if each.requires_grad]
        first = outputs[0]
        found = torch.autograd.grad(first, wanted, torch.ones_like(first), allow_unused=True)
        return [each for each in found if each is not None]


BASE = Sizes()


def calls(sizes: Sizes = BASE) -> dict[str, Call]:
    """Return a call of each operation with random inputs in float32 on the CPU, always the same."""
    generator = torch.Generator().manual_seed(0)
    B, T, D, E, N, S, V = (
        *(sizes.batch, sizes.tokens, sizes.width, sizes.expanded, sizes.states, sizes.units, sizes.vocabulary),
    )

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def positive(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 0.1

    resets_BT = torch.rand(B, T, generator=generator) < 0.01
    resets_BT[:, 0] = True
    heads = max(1, E // 64)
    documents = {"resets_BT": resets_BT}
    targets_BT = torch.randint(0, V, (B, T), generator=generator)
    scan = [normal(B, T, E), positive(B, T, E), -positive(E, N) * 10, normal(B, T, N), normal(B, T, N)]
    state_space = [normal(B, T, heads, 64), positive(B, T, heads), -positive(heads), normal(B, T, N), normal(B, T, N)]
    return {
        "selective_scan": Call(selective_scan, scan, documents),
        "ssd": Call(ssd, state_space, documents),
        "lif": Call(lif, [normal(B, T, S), 0.9 + positive(B, T, S)], documents),
        "causal_trace": Call(causal_trace, [normal(B, T, S)], {**documents, "decay": 0.95}),
        "causal_conv": Call(causal_conv, [normal(B, T, E), normal(E, 4), normal(E)], documents),
        "gated_norm": Call(gated_norm, [normal(B, T, E), normal(B, T, E), normal(E)], {}),
        "gated_skip": Call(gated_skip, [normal(B, T, E), normal(B, T, E), normal(E), normal(B, T, E)], {}),
        "windowed_attention": Call(
            windowed_attention, [normal(B, T, D // 2) for _ in range(3)], {**documents, "heads": 16, "window": 64}
        ),
        "linear_cross_entropy": Call(linear_cross_entropy, [normal(B, T, D), normal(V, D) * 0.02, targets_BT], {}),
    }
