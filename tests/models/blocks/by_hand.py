"""Pieces of the blocks' formulas, written out with loops."""

import math

import torch


def rms_norm(x, weight=1.0):
    """Return x over its root mean square."""
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5) * weight


def fire(currents, taus):
    """Return spikes and last membranes of neurons with threshold 1 and soft reset, looped over tokens."""
    v, spikes = torch.zeros_like(currents[:, 0]), []
    for t in range(currents.shape[1]):
        v = torch.exp(-1.0 / taus[:, t]) * v + currents[:, t]
        z = (v >= 1.0).to(v)
        v = v - z
        spikes.append(z)
    return torch.stack(spikes, dim=1), v


def trace(spikes, tau=20.0):
    """Return the temporal code of spikes: an exponential average."""
    code, codes, kept = torch.zeros_like(spikes[:, 0]), [], math.exp(-1 / tau)
    for t in range(spikes.shape[1]):
        code = kept * code + (1 - kept) * spikes[:, t]
        codes.append(code)
    return torch.stack(codes, dim=1)
