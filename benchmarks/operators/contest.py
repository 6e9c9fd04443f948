"""One comparison: the same inputs for both sides, parity of outputs and gradients, then time and memory."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measuring import MIB, interleaved_ms, medians, peak_memory_bytes

PARITY_RATIO = 1e-4
"""Largest difference, root mean square over that of the peer's: float32 through hundreds of dependent steps."""

MOST_CALLS = 30
"""Runs of ours in one turn, at the most."""


class Side(NamedTuple):
    """One implementation with its inputs."""

    forward: Callable[[], Tensor]
    leaves: dict[str, Tensor]
    """What gradients are taken of; both sides name them alike."""
    grad_output: Tensor
    to_common: dict[str, Callable[[Tensor], Tensor]] = {}
    """How "output", or the gradient of a leaf, comes into the layout and unit of our side; not timed."""

    def run(self) -> dict[str, Tensor]:
        """Run forward and backward; return the output and the gradient of each leaf."""
        output = self.forward()
        grads = torch.autograd.grad(output, list(self.leaves.values()), self.grad_output)
        return {"output": output.detach(), **dict(zip(self.leaves, grads, strict=True))}

    def common(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what `run` found in the layout and unit of our side."""
        return {name: self.to_common.get(name, lambda tensor: tensor)(tensor) for name, tensor in found.items()}


class Contest(NamedTuple):
    """Our implementation and a peer's on the same inputs."""

    ours: Side
    theirs: Side
    is_output_exact: bool = False
    """The outputs must be equal bit by bit, as spikes are."""
    looser: dict[str, float] = {}
    """What may differ by more than `PARITY_RATIO`, and by how much."""


class ParityError(Exception):
    """The two sides do not compute the same thing, so their times say nothing."""


def hold(contest: Contest, *, rounds: int) -> dict[str, Any]:
    """Check parity, then take turns; return milliseconds and memory of both sides and the largest differences.

    In the first run ours comes first: memory that it leaves behind for the peer to use again counts in the peer's
    favour.

    Raises:
        ParityError: an output or a gradient differs by more than is allowed; nothing is timed then.
    """
    # The first call imports half of sympy; that memory is neither side's.
    one = torch.ones(1, requires_grad=True)
    torch.autograd.grad(one.exp(), one, torch.ones(1))
    found: dict[str, dict[str, Tensor]] = {}
    sides = {"ours": contest.ours, "theirs": contest.theirs}
    memory = {
        name: peak_memory_bytes(lambda name=name, side=side: found.update({name: side.run()})) / MIB
        for name, side in sides.items()
    }
    differences = check_parity(contest, found["ours"], found["theirs"])
    runs = {name: side.run for name, side in sides.items()}
    once = medians(interleaved_ms(runs, rounds=1))
    # Both get about as much time in a turn. One run of ours is so short that it would mostly see what the peer left
    # behind: caches full of other things, thousands of small pieces of freed memory. That run is shown by itself.
    calls = min(MOST_CALLS, max(1, round(once["theirs"] / once["ours"])))
    durations = interleaved_ms(runs, rounds=rounds, calls={"ours": calls})
    middle = medians(durations)
    return {
        "ours_ms": middle["ours"],
        "ours_first_ms": statistics.median(durations["ours"][::calls]),
        "ours_calls": calls,
        "theirs_ms": middle["theirs"],
        "ratio": middle["theirs"] / middle["ours"],
        "ours_all_ms": durations["ours"],
        "theirs_all_ms": durations["theirs"],
        "ours_peak_mib": memory["ours"],
        "theirs_peak_mib": memory["theirs"],
        "differences": differences,
    }


def check_parity(contest: Contest, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Return the difference of each output and gradient, root mean square over that of the peer's.

    Raises:
        ParityError: one is larger than `PARITY_RATIO`, or an output that must be exact is not.
    """
    ours, theirs = contest.ours.common(ours), contest.theirs.common(theirs)
    differences = {}
    for name, expected in theirs.items():
        size = expected.double().norm().item()
        difference = (ours[name].double() - expected.double()).norm().item()
        allowed = contest.looser.get(name, PARITY_RATIO)
        # Written so that a NaN, or a gradient that is zero everywhere, fails too.
        if not (size > 0 and difference <= allowed * size):
            raise ParityError(f"{name} is off by {difference:.1e} of {size:.1e}, allowed {allowed:.0e} of it")
        differences[name] = difference / size
    if contest.is_output_exact and not torch.equal(ours["output"], theirs["output"]):
        raise ParityError("the outputs are not equal bit by bit")
    return differences
