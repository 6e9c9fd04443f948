"""What the neurons of a hybrid block write into Mamba's last product. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Spikes
from mambrane.ops.checks import Arguments, refuse
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["spike_read_out"]

_run = Operation("spike_read_out")
_check = Arguments(
    "spike_read_out", q_BTE="B T E", spikes_BTS="B T S?", code_BTS="B T S?", second_BTP="B T P", gate_R="R", out_R="R"
)


def spike_read_out(
    q_BTE: Float[Tensor, "B T E"],
    spikes_BTS: Spikes | None,
    code_BTS: Float[Tensor, "B T S"] | None,
    second_BTP: Float[Tensor, "B T P"],
    gate_R: Float[Tensor, " R"],
    out_R: Float[Tensor, " R"],
    *,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B T R"]]:
    """Return a z q + b r of R = S + P neurons, and r; gradients flow to all six.

    Args:
        q_BTE: what Mamba's last product reads; the neurons stand on its first R channels.
        spikes_BTS: z of the first population, the mean over the ticks of a token; None where it is not read.
        code_BTS: r of the first population; None where it is not read.
        second_BTP: z and r of the second one.
        gate_R: a, how much spikes gate q.
        out_R: b, how much r is read.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        Both [B, T, R], in the type of q.

    Example:
        >>> import torch
        >>> one, factors = torch.ones(1, 1, 1), torch.ones(2)
        >>> out, read = spike_read_out(torch.tensor([[[3.0, 4.0]]]), one, 5 * one, 0 * one, factors, factors)
        >>> out.flatten().tolist(), read.flatten().tolist()
        ([8.0, 0.0], [5.0, 0.0])
    """
    sizes = _check(q_BTE, spikes_BTS, code_BTS, second_BTP, gate_R, out_R)
    if (spikes_BTS is None) != (code_BTS is None):
        refuse("spike_read_out", "spikes without a code, or a code without spikes", "both, or none")
    first, second = sizes.get("S", 0), sizes["P"]
    if not first + second == sizes["R"] <= sizes["E"]:
        found = f"{sizes['R']} factors for {first} and {second} neurons on {sizes['E']} channels"
        refuse("spike_read_out", found, "a factor and a channel for each")
    return _run(backend, q_BTE, spikes_BTS, code_BTS, second_BTP, gate_R, out_R)
