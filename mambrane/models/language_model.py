"""The language model: embedding and head, tied as a rule, around a stack of blocks, of one kind or of several."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mambrane.core.errors import UserError
from mambrane.core.seeding import derive_seed
from mambrane.core.shapes import Resets, Spikes, Tokens
from mambrane.core.weight_decay import exempt_from_weight_decay
from mambrane.data.tokenizer import Tokenizer
from mambrane.layers.dropout import Dropout
from mambrane.layers.linear import Linear
from mambrane.layers.norm import RmsNorm
from mambrane.models.block import Block, block_kind
from mambrane.models.config import ModelConfig
from mambrane.models.earlier import require_present_blocks
from mambrane.models.initialisation import draw_default_weights
from mambrane.models.pretrained import own_settings, read_pretrained, write_model_folder
from mambrane.models.state import BlockActivity, ModelOutput, ModelState
from mambrane.ops.linear import linear
from mambrane.ops.linear_cross_entropy import linear_cross_entropy
from mambrane.storage.hub import publish_folder


class LanguageModel(nn.Module):
    """Predicts the next token by the blocks of a pattern on one residual stream."""

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        if 0 < config.vocab_size < vocab_size:
            raise UserError(
                f"--vocab-size {config.vocab_size} for a tokenizer of {vocab_size} tokens",
                wanted="a row of the embedding for each token",
                way_out="--vocab-size 0, or the tokenizer that the size belongs to",
            )
        self.embedding = nn.Embedding(config.vocab_size or vocab_size, config.hidden_dim)
        self.blocks = nn.ModuleList(cast(nn.Module, block_kind(name).build(config)) for name in config.block_kinds)
        self.norm = RmsNorm(config.hidden_dim)
        self.head = None if config.tie_embeddings else Linear(config.hidden_dim, self.vocab_size, bias=False)
        self.checkpoint_activations = False
        """Whether a block keeps only its input for the backward pass, where it runs again."""
        self.dropouts: nn.ModuleList | None = None
        if config.dropout > 0:
            seeds = (derive_seed(generator.initial_seed(), place) for place in range(1 + config.num_layers))
            self.dropouts = nn.ModuleList(Dropout(config.dropout, seed=seed) for seed in seeds)
        exempt_from_weight_decay(self.embedding.weight)
        self.reset_parameters(generator)

    @classmethod
    def from_pretrained(cls, name: Path | str) -> "LanguageModel":
        """Return the model of a folder or of a repository of the Hugging Face hub, on the CPU, in training mode.

        Args:
            name: a folder that `save_pretrained` or `mambrane export` wrote, or one with a published Mamba of version 1
                or 2; OWNER/MODEL or hf:OWNER/MODEL for the hub. `pretrained_tokenizer` takes the same names.

        Raises:
            UserError: it is not there, or holds no model that we know.
        """
        found = read_pretrained(name)
        model = cls(found.config, found.vocab_size, torch.Generator())
        try:
            model.load_state_dict(found.weights)
        except RuntimeError as error:
            raise UserError(
                f"{name}: {' '.join(str(error).split())[:200]}",
                wanted="the weights that belong to its config.json",
                way_out="fetch or export the model again",
            ) from error
        return model

    def save_pretrained(
        self, folder: Path | str, *, tokenizer: Tokenizer | None = None, card: str | None = None
    ) -> Path:
        """Write the model into a folder that `from_pretrained` opens, and return the folder.

        Args:
            folder: made where there is none.
            tokenizer: what turns text into its tokens, written beside it.
            card: the model card, Markdown.
        """
        settings = own_settings(self.config, self.vocab_size)
        return write_model_folder(Path(folder), settings, self.state_dict(), tokenizer=tokenizer, card=card)

    def push_to_hub(
        self, name: str, *, tokenizer: Tokenizer | None = None, card: str | None = None, private: bool = False
    ) -> str:
        """Publish the model as the repository OWNER/MODEL of the Hugging Face hub and return its address.

        Raises:
            UserError: the extra `hub` is not installed, or the hub refuses.
        """
        with TemporaryDirectory() as folder:
            return publish_folder(self.save_pretrained(folder, tokenizer=tokenizer, card=card), name, private=private)

    @property
    def vocab_size(self) -> int:
        """Tokens that embedding and head know."""
        return self.embedding.num_embeddings

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the head, [V, D]: the embedding, or the head's own."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def stack(self) -> list[Block]:
        """The blocks, first to last, under their own type."""
        return [cast(Block, block) for block in self.blocks]

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw every initial weight from the generator, in the order of the blocks."""
        std = max(block.embedding_std for block in self.stack)
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, std, generator=generator)
        draw_default_weights(self.blocks, generator)
        for block in self.stack:
            block.reset_parameters(generator, num_blocks=len(self.blocks))
        if self.head is not None:
            with torch.no_grad():
                self.head.weight.normal_(0.0, std, generator=generator)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- torch's own
        """Load weights by name, as torch does.

        Raises:
            UserError: an earlier version wrote them, for a block that is no more.
        """
        require_present_blocks(state_dict)
        return super().load_state_dict(state_dict, *args, **kwargs)

    def forward(
        self,
        tokens_BT: Tokens,
        *,
        state: ModelState | None = None,
        resets_BT: Resets | None = None,
        targets_BT: Tokens | None = None,
    ) -> ModelOutput:
        """Return logits for the next token at every position, the state after the last, and the activity.

        Strictly causal. Feeding a sequence in pieces, passing the state on, gives the same numbers as at once.

        Args:
            tokens_BT: token numbers, T >= 1.
            state: what an earlier call returned; None starts from nothing.
            resets_BT: True where a document starts: all that came before, `state` included, is forgotten there.
            targets_BT: the right next tokens, IGNORED_TARGET where none counts; then the output holds the nats of each
                in place of the logits, which would take B x T x V numbers.
        """
        output = self.hidden_states(tokens_BT, state=state, resets_BT=resets_BT)
        assert output.hidden_BTD is not None, "they are what was asked for"
        if targets_BT is not None:
            nats_BT = linear_cross_entropy(output.hidden_BTD, self.head_weight, targets_BT)
            return output._replace(nats_BT=nats_BT)
        logits_BTV = linear(output.hidden_BTD, self.head_weight)
        if logits_BTV.dtype in (torch.bfloat16, torch.float16):
            logits_BTV = logits_BTV.float()
        return output._replace(logits_BTV=logits_BTV)

    def hidden_states(
        self, tokens_BT: Tokens, *, state: ModelState | None = None, resets_BT: Resets | None = None
    ) -> ModelOutput:
        """Return what `forward` does, with the hidden states before the head [B, T, D] and no logits."""
        states = (None,) * len(self.blocks) if state is None else state.blocks
        x_BTD = self._drop(0, self.embedding(tokens_BT))
        new_states, activities = [], []
        run = _run_again_in_backward if self.checkpoint_activations and torch.is_grad_enabled() else _run
        for index, (block, block_state) in enumerate(zip(self.stack, states, strict=True)):
            y_BTD, block_state, activity = run(block, x_BTD, state=block_state, resets_BT=resets_BT)
            # What the block has added is its residual branch.
            x_BTD = x_BTD + self._drop(1 + index, y_BTD - x_BTD) if self._drops else y_BTD
            new_states.append(block_state)
            activities.append(activity)
        return ModelOutput(None, ModelState(tuple(new_states)), tuple(activities), hidden_BTD=self.norm(x_BTD))

    @property
    def _drops(self) -> bool:
        return self.dropouts is not None and self.training

    def _drop(self, place: int, x_BTD: Tensor) -> Tensor:
        return x_BTD if self.dropouts is None or not self.training else self.dropouts[place](x_BTD)

    def step(self, tokens_B: Tensor, state: ModelState | None = None) -> ModelOutput:
        """Read one token [B] of each sequence: `forward` with T = 1, at constant cost and memory."""
        return self.forward(tokens_B.unsqueeze(1), state=state)

    def plastic_synapses(self) -> dict[str, nn.Parameter]:
        """Return the plastic synapse W_p [S_post, S_pre] of every block that has one, by its full parameter name."""
        return {
            f"blocks.{index}.plastic.weight": cast(nn.Parameter, block.plastic.weight)
            for index, block in enumerate(self.stack)
            if block.plastic is not None
        }

    def synapse_spikes(self, activity: tuple[BlockActivity, ...]) -> dict[str, tuple[Spikes, Spikes]]:
        """Return the spikes on the input and on the output side of each plastic synapse, by the same names.

        A synapse to a population that does not spike is left out.
        """
        return {
            f"blocks.{index}.plastic.weight": (did.pre_spikes_BTS, did.post_spikes_BTS)
            for index, (block, did) in enumerate(zip(self.stack, activity, strict=True))
            if block.plastic is not None and did.pre_spikes_BTS is not None and did.post_spikes_BTS is not None
        }


@contextmanager
def keeping_activations(model: nn.Module) -> Iterator[None]:
    """Let no block run again in the backward pass inside the context; a model of another kind has none that does."""
    if not isinstance(model, LanguageModel):
        yield
        return
    was, model.checkpoint_activations = model.checkpoint_activations, False
    try:
        yield
    finally:
        model.checkpoint_activations = was


def _run(block: Block, x_BTD: Tensor, **options: Any) -> Any:  # noqa: ANN401 -- as blocks take and return
    return block(x_BTD, **options)


def _run_again_in_backward(block: Block, x_BTD: Tensor, **options: Any) -> Any:  # noqa: ANN401 -- as blocks do
    # A block draws nothing (dropout stands outside), so the random state need not be kept for its second run.
    return checkpoint(block, x_BTD, use_reentrant=False, preserve_rng_state=False, **options)
