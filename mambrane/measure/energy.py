"""What a token would cost in energy: as the model is built, and on an ideal machine that is driven by spikes.

    as built       4.6 pJ x (every multiply-accumulate)                                  float32
    event-driven   4.6 pJ x (those that read dense numbers, state updates) + 0.9 pJ x synaptic operations
    int8 dense     0.23 pJ x (every multiply-accumulate of a matrix product) + 4.6 pJ x state updates
    memory         99.84 pJ for each 4-byte operand: one for a product or addition, two for a state update

A synaptic operation is one addition: a spike that reaches one synapse, counted at the firing rates that were measured.
The arithmetic figures are those of one 45 nm chip (float32 multiply 3.7 pJ and add 0.9 pJ, int8 multiply 0.2 pJ and add
0.03 pJ); the memory figure is 24.96 pJ for a byte. They are estimates by counting, never a measurement of a device.
Source: Horowitz, Computing's energy problem, ISSCC 2014; SpikingJelly 2.0 `op_counter` for the memory figure; the int8
baseline follows the criticism in arXiv 2409.08290.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mambrane.layers.cost import ComponentCost

MAC_PJ = 4.6
ADDITION_PJ = 0.9
INT8_MAC_PJ = 0.23
MEMORY_PJ_PER_BYTE = 24.96
BYTES_PER_OPERAND = 4

CAVEATS = (
    "The figures are counts times published energies of one 45 nm chip (Horowitz 2014); no device was measured.",
    "This program runs on ordinary processors, where every product is dense: only the column 'as built' is real here.",
    "The event-driven column needs hardware that skips absent spikes at no cost; it holds arithmetic only.",
    "Exponentials, divisions, normalisation and control are counted nowhere, and neither is training.",
    "Memory is one 4-byte operand for each product or addition and nothing cached, as when one text is written alone. "
    "It outweighs the arithmetic.",
    "A dense int8 model is the fair rival of spikes: an addition at 0.9 pJ beats an int8 product at 0.23 pJ only at "
    "firing rates below 26 %.",
)


class ComponentEnergy(NamedTuple):
    """Energy of one component for one token and forward pass, in picojoules."""

    name: str
    as_built_pj: float
    event_driven_pj: float
    int8_pj: float
    memory_as_built_pj: float
    memory_event_driven_pj: float


class EnergyEstimate(NamedTuple):
    """Energy for one token, component by component, the head included."""

    components: tuple[ComponentEnergy, ...]
    spike_share: float
    """Part of all multiply-accumulates of matrix products that read spikes; the rest gains nothing from them."""

    @property
    def total(self) -> ComponentEnergy:
        """The whole model."""
        sums = [sum(column) for column in zip(*(component[1:] for component in self.components), strict=True)]
        return ComponentEnergy("whole model", *sums)

    @property
    def event_driven_saving(self) -> float:
        """Part of the arithmetic energy as built that an ideal event-driven machine would save."""
        return 1 - self.total.event_driven_pj / self.total.as_built_pj


def estimate_energy(costs: Sequence[ComponentCost]) -> EnergyEstimate:
    """Return the energy of each component; `costs` come from `count_costs` at measured firing rates."""
    spike_macs = sum(cost.spike_macs_per_token for cost in costs)
    product_macs = spike_macs + sum(cost.dense_macs_per_token for cost in costs)
    return EnergyEstimate(tuple(_component_energy(cost) for cost in costs), spike_macs / product_macs)


def _component_energy(cost: ComponentCost) -> ComponentEnergy:
    dense, spiking = cost.dense_macs_per_token, cost.spike_macs_per_token
    synaptic, updates = cost.synaptic_operations_per_token, cost.state_updates_per_token
    operand_pj = MEMORY_PJ_PER_BYTE * BYTES_PER_OPERAND
    return ComponentEnergy(
        name=cost.name,
        as_built_pj=MAC_PJ * (dense + spiking + updates),
        event_driven_pj=MAC_PJ * (dense + updates) + ADDITION_PJ * synaptic,
        int8_pj=INT8_MAC_PJ * (dense + spiking) + MAC_PJ * updates,
        memory_as_built_pj=operand_pj * (dense + spiking + 2 * updates),
        memory_event_driven_pj=operand_pj * (dense + synaptic + 2 * updates),
    )
