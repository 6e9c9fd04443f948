"""Texts of a model, many at once, token after token, in constant memory and at constant cost per token.

The prompts are read in chunks, then every token is one step from the state before it: nothing grows with the length
of what was written. A text is a document as in training, so a prompt starts with the end-of-text token, and where the
model itself writes that token and goes on, its state is cleared, as at a document boundary in training. One text alone,
with stop texts and a state to keep, is `mambrane.measure.writing`.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from mambrane.engine.snapshot import evaluation_mode
from mambrane.kernels.threads import one_thread_if_small
from mambrane.measure.sampling import Sampling, draw_token
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelOutput, ModelState

PREFILL_CHUNK_TOKENS = 256
"""Tokens of a prompt that are read at once; bounds the memory of a long one."""


def generate_batch(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    end_of_text: int,
    generators: Sequence[torch.Generator],
    temperature: float = 0.8,
) -> Iterator[tuple[int, int]]:
    """Yield pairs (number of the prompt, next token of its text), each as soon as it is drawn.

    Prompts may differ in length: all are read as one batch up to the shortest, then a row whose prompt goes on reads
    it while the others already write, so nothing is padded. A text does not depend on the texts beside it.

    Args:
        model: the model; in evaluation mode until the last token or `close()`.
        prompts: at least one token each.
        max_tokens: tokens to write for each.
        end_of_text: the token between documents; reading it clears the state of its row.
        generators: a CPU generator for each text; the same states give the same texts.
        temperature: 0 takes the most probable token, see `Sampling`.
    """
    sampling = Sampling(temperature=temperature)
    device = next(model.parameters()).device
    num_common = min(map(len, prompts))
    tokens, num_left = [0] * len(prompts), [max_tokens] * len(prompts)
    common_BT = torch.tensor([list(prompt[:num_common]) for prompt in prompts], device=device)
    with evaluation_mode(model):
        output = prefill(model, common_BT, end_of_text)
        for position in itertools.count(num_common):
            assert output.logits_BTV is not None, "a model that was given no targets returns logits"
            scores_BV = output.logits_BTV[:, -1].float().cpu()
            for row, (prompt, generator) in enumerate(zip(prompts, generators, strict=True)):
                if position < len(prompt):
                    tokens[row] = prompt[position]
                elif num_left[row]:
                    num_left[row] -= 1
                    tokens[row] = draw_token(scores_BV[row], sampling, generator)
                    yield row, tokens[row]
            if not any(num_left):
                return
            output = _read_one(model, torch.tensor(tokens, device=device), output.state, end_of_text)


@torch.inference_mode()
def prefill(model: LanguageModel, tokens_BT: Int64[Tensor, "B T"], end_of_text: int) -> ModelOutput:
    """Read tokens in chunks from the zero state; return the output of the last chunk."""
    state = None
    for chunk_BT in tokens_BT.split(PREFILL_CHUNK_TOKENS, dim=1):
        output = model(chunk_BT, state=state, resets_BT=chunk_BT == end_of_text)
        state = output.state
    return output


@torch.inference_mode()
def _read_one(model: LanguageModel, tokens_B: Int64[Tensor, " B"], state: ModelState, end_of_text: int) -> ModelOutput:
    """Read one token of each row; rows that read the end-of-text token start from the zero state."""
    resets_B = tokens_B == end_of_text
    # Each weight is multiplied once for each row.
    with one_thread_if_small(sum(weight.numel() for weight in model.parameters()) * len(tokens_B)):
        if resets_B.any():
            return model(tokens_B[:, None], state=state, resets_BT=resets_B[:, None])
        return model.step(tokens_B, state)
