"""A linear recurrence over tokens without a loop over tokens, in plain PyTorch: what the chunked backends share.

    h[t] = a[t] h[t-1] + b[t]

Within chunks of Q tokens, all at once, spans are joined pairwise, each as long as all before: log2 Q rounds of

    b[t] <- b[t] + a[t] b[t-s],   a[t] <- a[t] a[t-s]        s = 1, 2, 4, ...

after which b[t] is the state that the chunk alone has made, and a[t] what is left of the state before the chunk. Only
products of decays are formed and never a quotient, so that strong decay loses no digits.
Source: Hillis, Steele, Data parallel algorithms, Communications of the ACM 29 (1986); Blelloch, Prefix sums and their
applications, CMU-CS-90-190 (1990), section 1.4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_TOKENS = 16


def linear_recurrence(decay: Tensor, drive: Tensor, first: Tensor, resets_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the states [B, T, ...] and the last one [B, ...].

    Args:
        decay: a, of the shape of the drive.
        drive: b [B, T, ...].
        first: the state before the first token [B, ...].
        resets_BT: True where the state is set to zero before the token.
    """
    num_tokens = drive.shape[1]
    if resets_BT is not None:
        decay = decay.masked_fill(resets_BT.view(*resets_BT.shape, *(1,) * (drive.ndim - 2)), 0.0)
    chunk_tokens = min(CHUNK_TOKENS, num_tokens)
    # Behind the last token nothing decays and nothing is added: the last state stays as it is.
    missing = -num_tokens % chunk_tokens
    a, b = (
        _shifted(each, 1, -missing, fill).unflatten(1, (-1, chunk_tokens))
        for each, fill in ((decay, 1.0), (drive, 0.0))
    )
    span = 1
    while span < chunk_tokens:
        b, a = b + a * _shifted(b, 2, span, 0.0), a * _shifted(a, 2, span, 1.0)
        span *= 2
    before = []
    for left, made in zip(a[:, :, -1].unbind(1), b[:, :, -1].unbind(1), strict=True):
        before.append(first)
        first = left * first + made
    states = b + a * torch.stack(before, dim=1).unsqueeze(2)
    return states.flatten(1, 2)[:, :num_tokens], first


def _shifted(x: Tensor, dim: int, distance: int, fill: float) -> Tensor:
    """Return x moved on along a dimension, the first places filled; a negative distance fills places behind it all."""
    behind = (0, 0) * (x.ndim - 1 - dim)
    if distance < 0:
        return F.pad(x, (*behind, 0, -distance), value=fill)
    return F.pad(x.narrow(dim, 0, x.shape[dim] - distance), (*behind, distance, 0), value=fill)
