"""State-space duality on the CPU, through the kernels of the selective scan (S6), of which it is a special case.

    A[e, n] = A[h],  delta[e] = delta[h]      for every channel e of head h and every state n

The kernels go token by token, so that a text in pieces, or token by token, gives the bits of the whole; sums of matrix
products (chunked.py) depend on where a text is cut. The formula is in `reference.py`.
"""

from torch import Tensor

from mambrane.kernels.arguments import compute_dtype
from mambrane.ops.selective_scan.numba_cpu import selective_scan_numba
from mambrane.ops.ssd.reference import with_skip


def ssd_numba(
    x_BTHP: Tensor,
    delta_BTH: Tensor,
    A_H: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    *,
    skip_H: Tensor | None,
    state_BHPN: Tensor | None,
    resets_BT: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return y and the last state; arguments as in `mambrane.ops.ssd.ssd`."""
    heads_and_channels, dtype = x_BTHP.shape[2:], compute_dtype(x_BTHP)
    y_BTE, state_BEN = selective_scan_numba(
        x_BTHP.flatten(2),
        # In the inner type before they are spread: the way back sums over channels and states.
        delta_BTH.to(dtype)[..., None].expand_as(x_BTHP).flatten(2),
        A_H.to(dtype)[:, None, None].expand(*heads_and_channels, B_BTN.shape[-1]).flatten(0, 1),
        B_BTN,
        C_BTN,
        state_BEN=None if state_BHPN is None else state_BHPN.flatten(1, 2),
        resets_BT=resets_BT,
    )
    y_BTHP = y_BTE.unflatten(2, heads_and_channels)
    if skip_H is not None:
        y_BTHP = with_skip(y_BTHP.to(dtype), x_BTHP, skip_H).to(x_BTHP.dtype)
    return y_BTHP, state_BEN.unflatten(1, heads_and_channels)
