"""State-space duality as matrix products over chunks of tokens: plain PyTorch, any device, gradients by autograd.

Within a chunk of Q tokens, with a[t] = delta[t] * A and u[t] = delta[t] * x[t] (K counts the same tokens as sources):

    y[q] = sum over k <= q of (C[q] . B[k]) exp(a[k+1] + ... + a[q]) u[k]  +  exp(a[1] + ... + a[q]) h[0] C[q]
    h[Q] = exp(a[1] + ... + a[Q]) h[0]  +  sum over k of exp(a[k+1] + ... + a[Q]) u[k] B[k]^T

and h[Q] is the h[0] of the next chunk. What lies behind a reset, or ahead of q, meets a factor of exactly zero, so a
later token cannot move a bit of an earlier output. (A product is no filter for NaN: one that is not finite spoils its
whole chunk.)
Source: Dao, Gu, arXiv 2405.21060, section 6 and listing 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.kernels.arguments import compute_dtype, no_resets
from mambrane.kernels.autocast import without_autocast
from mambrane.ops.ssd.reference import ssd_reference, with_skip

CHUNK_TOKENS = 64


def ssd_chunked(
    x_BTHP: Float[Tensor, "B T H P"],
    delta_BTH: Float[Tensor, "B T H"],
    A_H: Float[Tensor, " H"],
    B_BTN: Float[Tensor, "B T N"],
    C_BTN: Float[Tensor, "B T N"],
    *,
    skip_H: Float[Tensor, " H"] | None = None,
    state_BHPN: Float[Tensor, "B H P N"] | None = None,
    resets_BT: Resets | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H P N"]]:
    """Return y and the last state.

    Args:
        x_BTHP: this and the others as in `mambrane.ops.ssd.ssd`.
        delta_BTH: step size of each head.
        A_H: rate of each head.
        B_BTN: how the input enters the states.
        C_BTN: how the states are read.
        skip_H: how much of the input is added to the output.
        state_BHPN: the state before the first token.
        resets_BT: where documents start.
        chunk_tokens: Q, tokens of a chunk.
    """
    if x_BTHP.shape[1] == 1:
        # One token is one turn of the recurrence; there is nothing to gather into a product.
        return ssd_reference(
            x_BTHP, delta_BTH, A_H, B_BTN, C_BTN, skip_H=skip_H, state_BHPN=state_BHPN, resets_BT=resets_BT
        )
    inner = compute_dtype(x_BTHP)
    if resets_BT is None:
        resets_BT = no_resets(x_BTHP)
    if state_BHPN is None:
        state_BHPN = x_BTHP.new_zeros(x_BTHP.shape[0], *x_BTHP.shape[2:], B_BTN.shape[-1])
    # Autocast would run the products in bfloat16.
    with without_autocast(x_BTHP.device):
        x, delta, A, B, C, state = (t.to(inner) for t in (x_BTHP, delta_BTH, A_H, B_BTN, C_BTN, state_BHPN))
        y_BTHP, state_BHPN = _scan_chunks(
            delta[..., None] * x, delta * A, B, C, state, resets_BT, min(chunk_tokens, x.shape[1])
        )
        y_BTHP = with_skip(y_BTHP, x, skip_H)
    return y_BTHP.to(x_BTHP.dtype), state_BHPN


def _scan_chunks(
    drive_BTHP: Tensor,
    log_decay_BTH: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    state_BHPN: Tensor,
    resets_BT: Tensor,
    chunk_tokens: int,
) -> tuple[Tensor, Tensor]:
    num_tokens, num_heads = log_decay_BTH.shape[1:]
    # Padding at the end neither drives nor decays, so the last state is that of the last token.
    drive_BGQHP, log_decay_BGQH, B_BGQN, C_BGQN, resets_BGQ = (
        in_chunks(each, chunk_tokens) for each in (drive_BTHP, log_decay_BTH, B_BTN, C_BTN, resets_BT)
    )
    is_seen_BGQK, is_first_BGQ = same_document(resets_BGQ)
    decay_BGHQK = _decay_between(log_decay_BGQH)
    decay_from_start_BGQH = running_sum(log_decay_BGQH, 2).exp() * is_first_BGQ[..., None]
    decay_to_end_BGQH = decay_BGHQK[..., -1, :].mT * is_seen_BGQK[:, :, -1, :, None]

    # Masked before the heads come in: a score of exactly zero stays zero whatever the decay.
    score_BGQK = (C_BGQN @ B_BGQN.mT).masked_fill(~is_seen_BGQK, 0.0)
    within_BGHQP = (score_BGQK[:, :, None] * decay_BGHQK) @ drive_BGQHP.transpose(2, 3)

    kept_BGQHP = drive_BGQHP * decay_to_end_BGQH[..., None]
    added_BGHPN = (kept_BGQHP.flatten(3).mT @ B_BGQN).unflatten(2, (num_heads, -1))
    before_BGHPN, state_BHPN = _pass_on(state_BHPN, decay_from_start_BGQH[:, :, -1], added_BGHPN)
    read_BGQHP = (C_BGQN @ before_BGHPN.flatten(2, 3).mT).unflatten(3, (num_heads, -1))
    y_BGQHP = within_BGHQP.transpose(2, 3) + decay_from_start_BGQH[..., None] * read_BGQHP
    return y_BGQHP.flatten(1, 2)[:, :num_tokens], state_BHPN


def in_chunks(each_BT: Tensor, chunk_tokens: int) -> Tensor:
    """Return [B, T, ...] as [B, G, Q, ...]: G chunks of Q tokens, zeros after the last token."""
    padding = -each_BT.shape[1] % chunk_tokens
    padded = F.pad(each_BT, (0, 0) * (each_BT.ndim - 2) + (0, padding))
    return padded.unflatten(1, (-1, chunk_tokens))


def same_document(resets_BGQ: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether token q may see token k of its chunk [B, G, Q, K], and the state before the chunk [B, G, Q]."""
    number_BGQ = resets_BGQ.cumsum(dim=-1)
    is_same_BGQK = number_BGQ[..., :, None] == number_BGQ[..., None, :]
    return is_same_BGQK.tril(), number_BGQ == 0


def _decay_between(log_decay_BGQH: Tensor) -> Tensor:
    """Return what is left at token q of what entered at token k, exp(a[k+1] + ... + a[q]); 1 for k >= q.

    Each source k has a sum of its own: as a difference of two long sums, a short one would lose its digits.
    """
    log_decay_BGHQ = log_decay_BGQH.transpose(2, 3)
    sums_BGHQK = log_decay_BGHQ[..., None].expand(*log_decay_BGHQ.shape, log_decay_BGHQ.shape[-1]).tril(-1)
    return running_sum(sums_BGHQK, -2).exp()


def running_sum(x: Tensor, dim: int) -> Tensor:
    """Return the sums up to each place along a dimension."""
    if x.device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        return running_sum_by_product(x, dim)
    return x.cumsum(dim=dim)


def running_sum_by_product(x: Tensor, dim: int) -> Tensor:
    """Return the same as a product with a triangle of ones: torch's own has no deterministic form on a GPU."""
    size = x.shape[dim]
    upper = torch.ones(size, size, dtype=x.dtype, device=x.device).triu()
    return (x.movedim(dim, -1) @ upper).movedim(-1, dim)


def _pass_on(state_BHPN: Tensor, decay_BGH: Tensor, added_BGHPN: Tensor) -> tuple[Tensor, Tensor]:
    """Return the state before each chunk [B, G, H, P, N], and the state after the last [B, H, P, N]."""
    before = []
    for decay_BH, added_BHPN in zip(decay_BGH.unbind(1), added_BGHPN.unbind(1), strict=True):
        before.append(state_BHPN)
        state_BHPN = decay_BH[..., None, None] * state_BHPN + added_BHPN
    return torch.stack(before, dim=1), state_BHPN
