"""A Mamba whose two large products read spikes -1, 0 and 1 in place of dense numbers: additions, not products.

    (x, g) = W_in spikes(norm(input))        input + W_out spikes((y + D x) silu(g))

At the widths of the presets these hold nine tenths of the multiply-accumulates of a block; what selects (step size, B,
C), the convolution and the scan stay dense. What it costs in loss is in docs/experiments/spikes.md, and below which
rate a CPU adds faster than it multiplies (`benchmarks/sparse_additions.py`); here the products stay dense ones. The
rates that the block shows are spikes per number that the first and the second product reads.
"""

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.cost import ComponentCost, FiringRates, macs
from mambrane.layers.mamba import Mamba, MambaState
from mambrane.layers.spike_counts import spike_counts
from mambrane.models.block import MixerBlock
from mambrane.models.blocks import mamba
from mambrane.models.config import ModelConfig
from mambrane.models.state import BlockActivity

SETTINGS = mamba.SETTINGS


def build(config: ModelConfig) -> "SpikeCountBlock":
    """Return a block."""
    return SpikeCountBlock(config, levels=1)


def operations(config: ModelConfig) -> tuple[str, ...]:
    """Return the operations with compiled kernels that such a block calls."""
    return mamba.operations(config)


class SpikeCountBlock(MixerBlock):
    """x + mamba(norm(x)), whose products into the inner channels and out of them read signed spike counts."""

    mixer: Mamba

    def __init__(self, config: ModelConfig, *, levels: int) -> None:
        super().__init__(config.hidden_dim, Mamba(config.hidden_dim, **config.mamba_sizes))
        self.levels = levels
        """Largest count."""

    def forward(
        self, x_BTD: Activations, *, state: MambaState | None = None, resets_BT: Resets | None = None
    ) -> tuple[Activations, MambaState, BlockActivity]:
        """Return the new residual stream, the mixer's state, and how often the products read a spike."""
        conv_BEK, scan_BEN = (None, None) if state is None else state
        read = spike_counts(self.norm(x_BTD), self.levels)
        channels = self.mixer.channels(read.numbers, conv_BEK=conv_BEK, resets_BT=resets_BT)
        y_BTE, scan_BEN = self.mixer.scan(channels, scan_BEN, resets_BT=resets_BT)
        written = spike_counts(self.mixer.gated(y_BTE, channels), self.levels)
        activity = BlockActivity(first_rate=read.counts.mean(), second_rate=written.counts.mean())
        return x_BTD + self.mixer.out_proj(written.numbers), MambaState(channels.conv_BEK, scan_BEN), activity

    def costs(self, rates: FiringRates) -> list[ComponentCost]:
        """Return the cost of the mixer; its large products are counted as spikes at these rates."""
        (dense,) = super().costs(rates)
        into, out = macs(self.mixer.in_proj), macs(self.mixer.out_proj)
        outputs = self.mixer.in_proj.out_features + self.mixer.out_proj.out_features
        coded = ComponentCost(
            name=dense.name,
            dense_macs_per_token=-(into + out),
            spike_macs_per_token=into + out,
            synaptic_operations_per_token=into * _rate(rates.first) + out * _rate(rates.second),
            # Each output times the factor of its token.
            state_updates_per_token=float(outputs),
        )
        return [dense + coded]


def _rate(rate: float | None) -> float:
    return 1.0 if rate is None else rate
