"""One idea a module, forward and step side by side."""

from mambrane.layers.adapter import SpikeAdapter
from mambrane.layers.attention import WindowedCrossAttention
from mambrane.layers.linear import Linear
from mambrane.layers.liquid import CfcCell, LiquidPopulation, LtcCell
from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.layers.norm import RmsNorm
from mambrane.layers.path_gate import PathGate
from mambrane.layers.spiking import SpikingPopulation

__all__ = [
    "CfcCell",
    "Linear",
    "LiquidPopulation",
    "LtcCell",
    "Mamba",
    "Mamba2",
    "PathGate",
    "RmsNorm",
    "SpikeAdapter",
    "SpikingPopulation",
    "WindowedCrossAttention",
]
