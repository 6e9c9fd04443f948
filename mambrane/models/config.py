"""What the model is. Free of torch, so that the command line can read it at once."""

import itertools
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mambrane.core.bounds import Bounds, Positive, Size, check_settings
from mambrane.core.errors import UserError

MAX_HEAD_DIM = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The model: a stack of blocks; hybrid ones are Mambas with two populations of neurons on their inner channels."""

    hidden_dim: Size = 512
    """Width D of the residual stream."""
    num_layers: Annotated[int, Bounds(1, 1024)] = 8
    """Blocks of the stack."""
    block_pattern: str = "hybrid"
    """Kinds of the blocks, first to last, separated by commas and repeated over the layers: hybrid,mamba,mamba."""
    dropout: Annotated[float, Bounds(0, 1, "most")] = 0.0
    """Part of the embedding, and of what each block adds to the residual stream, that is set to zero in training."""
    vocab_size: Annotated[int, Bounds(0, 2**31, meaning_of_0="as many as the tokenizer has")] = 0
    """Tokens that embedding and head know; 0: as many as the tokenizer has. Published models have some to spare."""
    tie_embeddings: bool = True
    """One matrix is embedding and head; off: the head has a matrix of its own."""
    spiking_units: Size = 128
    """Spiking neurons S of the first population, in each block: with a Mamba, on its first inner channels."""
    liquid_units: Size = 128
    """Units of the second population when it is a liquid cell (cfc, ltc); a lif population has --spiking-units."""
    liquid_backbone: Literal["lif", "cfc", "ltc"] = "lif"
    """Second population: leaky integrate-and-fire neurons, or a liquid cell with the arithmetic of ncps, which adds a
    fifth (cfc) or a quarter (ltc) of a Mamba in the presets tiny and small, less than a tenth in the larger ones."""
    num_spike_steps: Annotated[int, Bounds(1, 1024)] = 1
    """Ticks K for which each token's current is repeated; cost grows with it."""
    spike_threshold: Positive = 1.0
    """Membrane potential at which a neuron fires."""
    spike_temporal_tau: Positive = 20.0
    """Time constant of the `temporal` adapter, in tokens."""
    spike_reset: Literal["subtract", "zero"] = "subtract"
    """What a spike does to the membrane: subtract the threshold, or set it to zero."""
    detach_reset: bool = False
    """Stop the gradient through the reset."""
    surrogate: Literal["fast_sigmoid", "atan"] = "fast_sigmoid"
    """Derivative used for the spike in the backward pass."""
    surrogate_slope: Positive = 5.0
    """Steepness of the surrogate, per unit of membrane potential."""

    use_mamba: bool = False
    """Put the neurons on the inner channels of a Mamba; without it the model is spiking only."""
    mamba_version: Literal[1, 2] = 1
    """1: selective scan (S6), a decay per channel and state. 2: SSD, one decay per head."""
    mamba_expand: Annotated[int, Bounds(1, 64)] = 2
    """Inner channels of Mamba over the hidden width."""
    mamba_d_state: Annotated[int, Bounds(1, 4096)] = 16
    """State size N of each Mamba channel."""
    mamba_d_conv: Annotated[int, Bounds(1, 1024)] = 4
    """Taps of the causal convolution."""
    mamba_dt_rank: Annotated[int, Bounds(0, 65536, meaning_of_0="hidden width / 16")] = 0
    """Rank of the step sizes of Mamba 1; 0: the hidden width divided by 16, as published."""
    mamba_head_dim: Annotated[int, Bounds(0, 65536, meaning_of_0="64 at most")] = 0
    """Channels of each head of Mamba 2; 0: 64, or the largest number below it that divides the expanded width."""
    mamba_groups: Annotated[int, Bounds(1, 4096)] = 1
    """Groups of heads of Mamba 2; each group writes and reads its states in its own way."""

    integration_mode: Literal["sequential", "parallel", "bidirectional"] = "bidirectional"
    """How spikes and Mamba meet: spikes select what Mamba keeps and only their echo is read out (sequential), they are
    read out beside it (parallel), or both, and Mamba steers their time constants (bidirectional)."""
    spike_to_mamba_method: Literal["rate", "temporal", "potential"] = "temporal"
    """What is read of the first population: mean of the last 10 tokens, exponential trace, or membrane."""
    use_adaptive_gating: bool = False
    """Let the spikes through by a learned gate for each token and head; off: one learned number for each head."""
    num_gate_heads: Size = 8
    """Heads of the gate: slices of the hidden width that are gated separately."""
    use_cross_attention: bool = False
    """Let spikes and Mamba attend to each other over the last tokens (bidirectional mode); adds half a Mamba."""
    cross_attn_heads: Size = 16
    """Heads of the cross-attention."""
    cross_attn_window: Annotated[int, Bounds(1, 1_048_576)] = 64
    """Tokens that a query sees: itself and those just before it."""

    def __post_init__(self) -> None:
        check_settings(self)
        self._check_pattern()
        if self.use_cross_attention and not (self.use_mamba and self.integration_mode == "bidirectional"):
            raise UserError(
                "--use-cross-attention without a second path to attend to",
                wanted="--use-mamba with --integration-mode bidirectional",
                way_out="add these two flags, or leave --use-cross-attention out",
            )
        if self.use_adaptive_gating and not self.use_mamba:
            raise UserError(
                "--use-adaptive-gating without --use-mamba: there is one path, so nothing to mix",
                wanted="two paths",
                way_out="add --use-mamba, or leave --use-adaptive-gating out",
            )
        self._check_mamba_heads()
        if self.use_mamba:
            _check_heads("num-gate-heads", self.num_gate_heads, self.hidden_dim, "--hidden-dim")
        if self.use_cross_attention:
            _check_heads("cross-attn-heads", self.cross_attn_heads, self.attention_dim, "half of --hidden-dim,")

    def _check_pattern(self) -> None:
        names, kinds = self.block_pattern.split(","), block_kind_names()
        for name in names:
            if name not in kinds:
                raise UserError(
                    f"--block-pattern {self.block_pattern}: no kind of block is called {name!r}",
                    wanted=f"names out of {', '.join(kinds)}, separated by commas",
                    way_out="--block-pattern hybrid",
                )
        if len(names) > self.num_layers:
            raise UserError(
                f"--block-pattern {self.block_pattern}: {len(names)} names for --num-layers {self.num_layers}",
                wanted="no more names than layers",
                way_out=f"--num-layers {len(names)}",
            )

    def _check_mamba_heads(self) -> None:
        if "mamba2" not in self.block_kinds and not (self.use_mamba and self.mamba_version == 2):
            return
        expanded = self.mamba_expand * self.hidden_dim
        if self.mamba_head_dim:
            _check_heads("mamba-head-dim", self.mamba_head_dim, expanded, "the expanded width")
        _check_heads("mamba-groups", self.mamba_groups, expanded // self.head_dim, "the heads of Mamba 2,")

    @property
    def block_kinds(self) -> tuple[str, ...]:
        """Kind of each block, first to last."""
        return tuple(itertools.islice(itertools.cycle(self.block_pattern.split(",")), self.num_layers))

    @property
    def mamba_sizes(self) -> dict[str, int]:
        """Sizes of a Mamba of version 1, as its layer takes them."""
        return {**self._sizes_of_both, "dt_rank": self.dt_rank}

    @property
    def mamba2_sizes(self) -> dict[str, int]:
        """Sizes of a Mamba of version 2, as its layer takes them."""
        return {**self._sizes_of_both, "head_dim": self.head_dim, "groups": self.mamba_groups}

    @property
    def _sizes_of_both(self) -> dict[str, int]:
        return {"expand": self.mamba_expand, "d_state": self.mamba_d_state, "d_conv": self.mamba_d_conv}

    @property
    def attention_dim(self) -> int:
        """Width of the queries of the cross-attention, all heads together."""
        return self.hidden_dim // 2

    @property
    def dt_rank(self) -> int:
        """Rank R of the step-size projection; by itself ceil(D / 16), as published."""
        return self.mamba_dt_rank or -(-self.hidden_dim // 16)

    @property
    def head_dim(self) -> int:
        """Channels P of a head of Mamba 2; by itself 64 as published, or else the largest divisor of E below it."""
        expanded = self.mamba_expand * self.hidden_dim
        return self.mamba_head_dim or max(size for size in range(1, MAX_HEAD_DIM + 1) if expanded % size == 0)

    @property
    def second_units(self) -> int:
        """Units of the second population."""
        return self.spiking_units if self.liquid_backbone == "lif" else self.liquid_units


def block_kind_names() -> list[str]:
    """Return the kinds of block that a pattern may name: the files of `models/blocks`."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "blocks")]))


def _check_heads(flag: str, heads: int, dim: int, what: str) -> None:
    if dim % heads:
        near = max(count for count in range(1, heads + 1) if dim % count == 0)
        raise UserError(
            f"--{flag} {heads} does not divide {what} {dim}", wanted="heads of equal width", way_out=f"--{flag} {near}"
        )
