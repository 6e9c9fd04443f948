"""Text from a model, token after token, in constant memory and at constant cost per token.

The prompt is read in chunks, then every token is one step from the state before it: nothing grows with the length
of what was written. A text is a document as in training, so a prompt starts with the end-of-text token, and where the
model itself writes that token and goes on, its state is cleared, as at a document boundary in training.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.data.tokenizer import Tokenizer
from mambrane.engine.snapshot import evaluation_mode
from mambrane.kernels.threads import one_thread_if_small
from mambrane.measure.sampling import Sampling, draw_token
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelOutput, ModelState

PREFILL_CHUNK_TOKENS = 256


def encode_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a text that starts a document; an empty text is a fresh document."""
    return [tokenizer.end_of_text, *tokenizer.encode(text.encode()).tolist()]


def generate(
    model: LanguageModel,
    prompt_tokens: Sequence[int],
    *,
    max_tokens: int,
    end_of_text: int,
    generator: torch.Generator,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    stop_at_end: bool = False,
    prefill_chunk_tokens: int = PREFILL_CHUNK_TOKENS,
) -> Iterator[int]:
    """Return an iterator over the tokens that follow the prompt, each yielded as soon as it is drawn.

    Args:
        model: the model; in evaluation mode until the last token or `close()`.
        prompt_tokens: at least one token, see `encode_prompt`.
        max_tokens: tokens to write.
        end_of_text: the token between documents; reading it clears the state.
        generator: a CPU generator of its own; the same state gives the same text.
        temperature: 0 takes the most probable token, see `Sampling`.
        top_k: see `Sampling`.
        top_p: see `Sampling`.
        stop_at_end: stop when the end-of-text token is drawn, without yielding it.
        prefill_chunk_tokens: prompt tokens read at once; bounds the memory of a long prompt.

    Raises:
        UserError: at the call, not at the first token, when a setting makes no sense.
    """
    texts = generate_batch(
        model,
        [prompt_tokens],
        max_tokens=max_tokens,
        end_of_text=end_of_text,
        generators=[generator],
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop_at_end=stop_at_end,
        prefill_chunk_tokens=prefill_chunk_tokens,
    )
    return (token for _, token in texts)


def generate_batch(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    end_of_text: int,
    generators: Sequence[torch.Generator],
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    stop_at_end: bool = False,
    prefill_chunk_tokens: int = PREFILL_CHUNK_TOKENS,
) -> Iterator[tuple[int, int]]:
    """Return an iterator over pairs (number of the prompt, next token of its text), many texts at once.

    Prompts may differ in length: all are read as one batch up to the shortest, then a row whose prompt goes on reads
    it while the others already write, so nothing is padded. Each text has its own generator and therefore does not
    depend on the texts beside it. Other arguments as in `generate`.
    """
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    _check_lengths(prompts, max_tokens, prefill_chunk_tokens)
    if len(generators) != len(prompts):
        raise ValueError(f"{len(generators)} generators for {len(prompts)} prompts; give one for each")
    texts = [_Text(prompt, generator, max_tokens) for prompt, generator in zip(prompts, generators, strict=True)]
    last_token = end_of_text if stop_at_end else None
    return _write(model, texts, end_of_text, sampling, last_token, prefill_chunk_tokens)


@torch.inference_mode()
def prefill(model: LanguageModel, tokens_BT: Int64[Tensor, "B T"], end_of_text: int, chunk_tokens: int) -> ModelOutput:
    """Read tokens in chunks from the zero state; return the output of the last chunk."""
    state = None
    for chunk_BT in tokens_BT.split(chunk_tokens, dim=1):
        output = model(chunk_BT, state=state, resets_BT=chunk_BT == end_of_text)
        state = output.state
    return output


class _Text:
    """One text: first read from its prompt, then written."""

    def __init__(self, prompt: Sequence[int], generator: torch.Generator, num_left: int) -> None:
        self.prompt, self.generator, self.num_left = prompt, generator, num_left
        self.token = prompt[0]

    def advance(self, position: int, scores_V: Float[Tensor, " V"], sampling: Sampling, last_token: int | None) -> bool:
        """Set `token` to the one at the position; returns True where it was written, not read."""
        if position < len(self.prompt):
            self.token = self.prompt[position]
            return False
        if self.num_left == 0:
            return False
        self.token = draw_token(scores_V, sampling, self.generator)
        self.num_left = 0 if self.token == last_token else self.num_left - 1
        return self.token != last_token


def _write(
    model: LanguageModel,
    texts: Sequence[_Text],
    end_of_text: int,
    sampling: Sampling,
    last_token: int | None,
    prefill_chunk_tokens: int,
) -> Iterator[tuple[int, int]]:
    device = next(model.parameters()).device
    num_common = min(len(text.prompt) for text in texts)
    common_BT = torch.tensor([list(text.prompt[:num_common]) for text in texts], device=device)
    with evaluation_mode(model):
        output = prefill(model, common_BT, end_of_text, prefill_chunk_tokens)
        for position in itertools.count(num_common):
            assert output.logits_BTV is not None, "a model that was given no targets returns logits"
            scores_BV = output.logits_BTV[:, -1].float().cpu()
            for row, text in enumerate(texts):
                if text.advance(position, scores_BV[row], sampling, last_token):
                    yield row, text.token
            if all(text.num_left == 0 for text in texts):
                return
            tokens_B = torch.tensor([text.token for text in texts], device=device)
            output = _read_one(model, tokens_B, output.state, end_of_text)


@torch.inference_mode()
def _read_one(model: LanguageModel, tokens_B: Int64[Tensor, " B"], state: ModelState, end_of_text: int) -> ModelOutput:
    """Read one token of each row; rows that read the end-of-text token start from the zero state."""
    resets_B = tokens_B == end_of_text
    # Each weight is multiplied once for each row.
    with one_thread_if_small(sum(weight.numel() for weight in model.parameters()) * len(tokens_B)):
        if resets_B.any():
            return model(tokens_B[:, None], state=state, resets_BT=resets_B[:, None])
        return model.step(tokens_B, state)


def _check_lengths(prompts: Sequence[Sequence[int]], max_tokens: int, prefill_chunk_tokens: int) -> None:
    if not prompts or min(len(prompt) for prompt in prompts) == 0:
        raise UserError(
            "a prompt without tokens", wanted="at least one token", way_out="start it with the end-of-text token"
        )
    if max_tokens < 1:
        raise UserError(f"--max-tokens {max_tokens}", wanted="at least 1", way_out="--max-tokens 200")
    if prefill_chunk_tokens < 1:
        raise ValueError(f"prefill_chunk_tokens {prefill_chunk_tokens}: at least 1 token must be read at once")
