"""State-space duality with bfloat16 on a GPU: the products of `chunked.py` on the matrix units, sums in float32.

    y[q] = sum over k <= q of (C[q] . B[k]) exp(s[q] - s[k]) delta[k] x[k]  +  exp(s[q]) h[0] C[q]
    s[q] = delta[1] A + ... + delta[q] A

With everything over pairs of tokens in float32, a product takes the way without matrix units, and each pass over the
decays twice the memory. Here the scores, running sums and decays are float32, and what enters a product over heads is
rounded to bfloat16 once, as the published kernels do. The decay between two tokens is a difference of two running sums,
which a compiler makes on the way into the rounded factor: of 64 sums of a chunk the last is at most some hundreds, so
the difference is right to about 1e-5, where the rounding behind it is 4e-3. (`chunked.py`, for float32, gives each pair
a sum of its own.) States between chunks are kept in bfloat16 too: they are the largest tensors of all.
Source: Dao, Gu, arXiv 2405.21060, section 6, and the kernels of its authors (mamba_ssm, ssd_chunk_scan.py).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mambrane.ops.ssd.chunked import in_chunks, running_sum, same_document


def scan_chunks_in_half(
    x_BTHP: Tensor,
    delta_BTH: Tensor,
    A_H: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    state_BHPN: Tensor,
    resets_BT: Tensor,
    chunk_tokens: int,
    pass_on: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Return y in the type of x, and the last state in float32; x, B and C are bfloat16, the others float32.

    The last two arguments are the tokens of a chunk, and what takes states from chunk to chunk; the others are those of
    `mambrane.ops.ssd.ssd`.
    """
    num_tokens, num_heads = delta_BTH.shape[1:]
    half = x_BTHP.dtype
    x_BGQHP, delta_BGQH, B_BGQN, C_BGQN, resets_BGQ = (
        in_chunks(each, chunk_tokens) for each in (x_BTHP, delta_BTH, B_BTN, C_BTN, resets_BT)
    )
    is_seen_BGQK, is_first_BGQ = same_document(resets_BGQ)
    delta_BGHQ = delta_BGQH.transpose(2, 3)
    sums_BGHQ = running_sum(delta_BGHQ * A_H[:, None], -1)

    score_BGQK = C_BGQN.float() @ B_BGQN.float().mT
    # Masked before the exponential, which would overflow behind the diagonal.
    between_BGHQK = (sums_BGHQ[..., :, None] - sums_BGHQ[..., None, :]).masked_fill(
        ~is_seen_BGQK[:, :, None], -torch.inf
    )
    weight_BGHQK = (score_BGQK[:, :, None] * between_BGHQK.exp() * delta_BGHQ[..., None, :]).to(half)
    within_BGHQP = weight_BGHQK @ x_BGQHP.transpose(2, 3)

    to_end_BGHQ = (sums_BGHQ[..., -1:] - sums_BGHQ).exp() * delta_BGHQ * is_seen_BGQK[:, :, None, -1]
    kept_BGQHP = (x_BGQHP * to_end_BGHQ.transpose(2, 3)[..., None]).to(half)
    added_BGHPN = (kept_BGQHP.flatten(3).mT @ B_BGQN).unflatten(2, (num_heads, -1))
    from_start_BGHQ = sums_BGHQ.exp() * is_first_BGQ[:, :, None]
    before_BGHPN, state_BHPN = pass_on(state_BHPN, from_start_BGHQ[..., -1], added_BGHPN)
    read_BGQHP = (C_BGQN @ before_BGHPN.to(half).flatten(2, 3).mT).unflatten(3, (num_heads, -1))
    y_BGQHP = within_BGHQP.transpose(2, 3) + from_start_BGHQ.transpose(2, 3)[..., None] * read_BGQHP
    return y_BGQHP.to(half).flatten(1, 2)[:, :num_tokens], state_BHPN
