"""A model writes its own text, to be replayed in place of text that was stored.

Texts are written side by side, each from the end-of-text token on and as long as it takes, and cut into sequences as a
stream is: so most sequences begin in the midst of a document, like those of real text. Only tokens are kept; what the
model remembers of a text has a constant size.
Sources: Shin et al., Continual Learning with Deep Generative Replay (arXiv 1705.08690); Marek et al. (arXiv 2605.26097)
for language models, at temperature 1.
"""

import torch
from torch import nn

from mambrane.data.batch import MicroBatch
from mambrane.engine.snapshot import evaluation_mode
from mambrane.kernels.threads import one_thread_if_small

TEXTS_SIDE_BY_SIDE = 64


@torch.no_grad()
def write_sequences(
    model: nn.Module, num_sequences: int, sequence_length: int, *, end_of_text: int, generator: torch.Generator
) -> MicroBatch:
    """Return sequences that a language model wrote, on the CPU; its state is cleared where it ends a text."""
    device = next(model.parameters()).device
    num_texts = min(TEXTS_SIDE_BY_SIDE, num_sequences)
    sequences_each = -(-num_sequences // num_texts)
    size = sum(weight.numel() for weight in model.parameters())
    tokens_B = torch.full((num_texts,), end_of_text)
    written, state = [tokens_B], None
    with evaluation_mode(model), one_thread_if_small(size * num_texts):
        for _ in range(sequences_each * sequence_length):
            inputs_B1 = tokens_B.to(device)[:, None]
            output = model(inputs_B1, state=state, resets_BT=inputs_B1 == end_of_text)
            state = output.state
            probabilities_BV = output.logits_BTV[:, -1].float().cpu().softmax(dim=-1)
            tokens_B = torch.multinomial(probabilities_BV, 1, generator=generator)[:, 0]
            written.append(tokens_B)
    tokens_BL = torch.stack(written, dim=1)
    inputs_NT = tokens_BL[:, :-1].reshape(-1, sequence_length)[:num_sequences]
    targets_NT = tokens_BL[:, 1:].reshape(-1, sequence_length)[:num_sequences]
    return MicroBatch(inputs_NT, targets_NT, inputs_NT == end_of_text)
