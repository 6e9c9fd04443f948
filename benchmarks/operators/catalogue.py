"""Every comparison: who, how often, and what we promise."""

import re
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.environments import ROOT
from benchmarks.operators import liquid_peers, mamba_peers, spiking_peers
from benchmarks.operators.contest import Contest


class Entry(NamedTuple):
    """One row of the table."""

    name: str
    peer: str
    """Package of requirements/parity.txt; it has an environment of its own."""
    make: Callable[[], Contest]
    """Imports the peer."""
    target_ratio: float | None = None
    """How many times faster than the peer we promise to be."""
    target_ms: float | None = None
    """What we promise to need at the most, on a machine with the rate of `REFERENCE_GIGAFLOPS`."""
    rounds: int = 5


REFERENCE_GIGAFLOPS = 180.0
"""Rate of float32 products on the machine of the prototype, whose selective scan took 80 ms (2 threads)."""

CATALOGUE = (
    Entry(
        "selective scan, mambapy",
        "mambapy",
        mamba_peers.scan_against_mambapy,
        target_ratio=25,
        target_ms=1.3 * 80,
        rounds=3,
    ),
    Entry("Mamba block, mambapy", "mambapy", mamba_peers.block_against_mambapy, target_ratio=12, rounds=3),
    Entry(
        "Mamba block, transformers", "transformers", mamba_peers.block_against_transformers, target_ratio=50, rounds=1
    ),
    Entry("Mamba-2 block, transformers", "transformers", mamba_peers.mamba2_against_transformers),
    Entry("LIF, SpikingJelly", "spikingjelly", spiking_peers.lif_against_spikingjelly, target_ratio=8, rounds=9),
    Entry("LIF, snnTorch", "snntorch", spiking_peers.lif_against_snntorch, target_ratio=40, rounds=9),
    Entry("LIF, snnTorch, inputs cut once", "snntorch", spiking_peers.lif_against_snntorch_unbound, rounds=9),
    Entry("LIF, Norse", "norse", spiking_peers.lif_against_norse, target_ratio=60, rounds=9),
    Entry("LIF, Norse, inputs cut once", "norse", spiking_peers.lif_against_norse_unbound, rounds=9),
    Entry("CfC 128 to 256, ncps", "ncps", liquid_peers.cfc_against_ncps, target_ratio=4),
    Entry("LTC 128 to 64, ncps", "ncps", liquid_peers.ltc_64_against_ncps, target_ratio=10),
    Entry("LTC 128 to 32, ncps", "ncps", liquid_peers.ltc_32_against_ncps, target_ratio=10),
)


def requirement(peer: str) -> str:
    """Return the line of requirements/parity.txt that names the peer, with its version."""
    text = (ROOT / "requirements" / "parity.txt").read_text()
    return re.search(rf"^{peer}==\S+$", text, re.MULTILINE)[0]
