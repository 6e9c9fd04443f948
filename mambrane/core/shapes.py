"""The letters of every shape, and a name for each kind of tensor.

    B batch            T tokens (time steps)    D model width       E expanded width, expand x D
    N state size       R rank of dt             S spiking units     H heads
    K taps or ticks    V vocabulary             L liquid units

A tensor that lives longer than a line ends in its shape: spikes_BTS. The annotations are checked while the tests
run (pytest --jaxtyping-packages); outside the tests they cost nothing.
"""

from jaxtyping import Bool, Float, Int64
from torch import Tensor

Tokens = Int64[Tensor, "B T"]
"""Token numbers, or targets; IGNORED_TARGET marks a target that does not count."""
Resets = Bool[Tensor, "B T"]
"""True where a document starts: every state is cleared before this token is read."""
Activations = Float[Tensor, "B T D"]
Spikes = Float[Tensor, "B T S"]
"""Exactly 0 or 1, in the floating type of the currents."""
Currents = Float[Tensor, "B T S"]
Membranes = Float[Tensor, "B T S"]
Logits = Float[Tensor, "B T V"]

IGNORED_TARGET = -100
"""The value of a target that does not count, as in torch.nn.functional.cross_entropy."""
