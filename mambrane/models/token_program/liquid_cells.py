"""A tick of a liquid cell within a program; the equations are those of ops/cfc and ops/ltc."""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

import math

from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_math import exp
from mambrane.kernels.vectors import LANES, broadcast, fma, zeros
from mambrane.models.token_program.strips import NOWHERE, load, store
from mambrane.ops.cfc.reference import LECUN_GAIN, LECUN_SLOPE
from mambrane.ops.ltc.reference import EPSILON, NUM_UNFOLDS


@kernel(fuses=False)
def cfc_backbone(memory, out, from_input, from_state, size):
    """Set out = gain tanh(slope (what comes from the input + what comes from the state))."""
    dtype = memory.dtype.type
    for i in range(size):
        z = memory[from_input + i] + memory[from_state + i]
        memory[out + i] = dtype(LECUN_GAIN) * dtype(math.tanh(dtype(LECUN_SLOPE) * z))


@kernel(fuses=False)
def cfc_step(memory, out, heads, scale, state, size):
    """Set h = (1 - s) tanh(ff1) + s tanh(ff2); the heads ff1, ff2, time_a, time_b stand one behind the other."""
    dtype = memory.dtype.type
    one = dtype(1)
    for i in range(size):
        elapsed = one if scale == NOWHERE else one / memory[scale + i]
        time = memory[heads + 2 * size + i] * elapsed + memory[heads + 3 * size + i]
        s = one / (one + dtype(math.exp(-time)))
        near, far = dtype(math.tanh(memory[heads + i])), dtype(math.tanh(memory[heads + size + i]))
        memory[state + i] = (one - s) * near + s * far
        memory[out + i] = memory[state + i]


@kernel(fuses=False)
def ltc_step(memory, out, u, state, sensory, recurrent, cell, scale, heard, num_inputs, size):
    """Take the unfolds of one tick.

    Args:
        memory: of the program.
        out: state after the tick.
        u: mapped input.
        state: state before it, then after it.
        sensory: w, mu, sigma and erev, a row for each input, one matrix behind the other.
        recurrent: the same with a row for each unit.
        cell: capacitance, leak times resting state, leak; a row each.
        scale: of the time constants, or NOWHERE: one token takes one unit of time.
        heard: room for the pull and the conductance of the sensory synapses.
        num_inputs: rows of the sensory matrices.
        size: units.
    """
    one = broadcast(memory.dtype.type(1))
    width = -(-size // LANES) * LANES
    for i in range(0, size, LANES):
        _hear(memory, heard + i, heard + width + i, u, sensory + i, num_inputs, width)
    for _ in range(NUM_UNFOLDS):
        for i in range(0, size, LANES):
            # The sums of the recurrent synapses stand behind those of the sensory ones.
            pull_at, conductance_at = heard + 2 * width + i, heard + 3 * width + i
            _hear(memory, pull_at, conductance_at, state, recurrent + i, size, width)
            elapsed = one if scale == NOWHERE else one / load(memory, scale + i)
            d = elapsed / memory.dtype.type(NUM_UNFOLDS)
            capacitance, leak = load(memory, cell + i), load(memory, cell + 2 * width + i)
            pull = load(memory, cell + width + i) + load(memory, pull_at) + load(memory, heard + i)
            conductance = leak + load(memory, conductance_at) + load(memory, heard + width + i)
            conductance = conductance + memory.dtype.type(EPSILON)
            v = capacitance * load(memory, state + i) + d * pull
            store(memory, out + i, v / (capacitance + d * conductance))
        for i in range(0, size, LANES):
            store(memory, state + i, load(memory, out + i))


@kernel(fuses=False)
def _hear(memory, pull_at, conductance_at, pre, synapses, num_pre, width):
    """Write the pull and the conductance that a vector of units receives from all synapses."""
    one = broadcast(memory.dtype.type(1))
    pull, conductance = zeros(memory, LANES), zeros(memory, LANES)
    matrix = num_pre * width
    for row in range(num_pre):
        at = synapses + row * width
        distance = broadcast(memory[pre + row]) - load(memory, at + matrix)
        opened = one / (one + exp(zeros(memory, LANES) - load(memory, at + 2 * matrix) * distance))
        opened = load(memory, at) * opened
        pull = fma(opened, load(memory, at + 3 * matrix), pull)
        conductance = conductance + opened
    store(memory, pull_at, pull)
    store(memory, conductance_at, conductance)
