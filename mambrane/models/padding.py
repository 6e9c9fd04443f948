"""Texts of unequal length in one batch, exactly: padding changes no number, wherever it stands.

The real tokens of each row are moved to its right end, in order, and the state is cleared before the first of them. So
every operation sees a plain sequence, no operation needs a mask, and the state after the last token is that of the
text alone. The decision is argued in docs/decisions/padding.md.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.core.shapes import Tokens
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelOutput


def forward_padded(model: LanguageModel, tokens_BT: Tokens, valid_BT: Bool[Tensor, "B T"]) -> ModelOutput:
    """Return the logits of padded texts, each read from the zero state.

    Args:
        model: the model.
        tokens_BT: token numbers; those at padding do not matter.
        valid_BT: True at real tokens (the attention mask of Hugging Face); padding may be left, right or between.

    Returns:
        Logits at the places of `tokens_BT` (meaningless at padding) and the state after each text's last token. The
        activity includes what neurons did at the padding before a text.

    Raises:
        UserError: a row without a token.
    """
    num_tokens_B = valid_BT.sum(dim=1)
    if not num_tokens_B.all():
        raise UserError(
            "a text without tokens", wanted="at least one real token in each row", way_out="leave the row out"
        )
    order_BT = valid_BT.to(torch.uint8).argsort(dim=1, stable=True)
    first_B = valid_BT.shape[1] - num_tokens_B
    starts_BT = torch.arange(valid_BT.shape[1], device=tokens_BT.device) == first_B.unsqueeze(1)
    output = model(tokens_BT.gather(1, order_BT), resets_BT=starts_BT)
    back_BT1 = order_BT.argsort(dim=1).unsqueeze(-1)
    return output._replace(logits_BTV=torch.take_along_dim(output.logits_BTV, back_BT1, dim=1))
