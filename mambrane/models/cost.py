"""What a whole model costs, component by component, blocks added up; layers/cost.py says what is counted."""

from collections.abc import Sequence

from mambrane.layers.cost import ALWAYS_FIRING, ComponentCost, FiringRates, num_parameters
from mambrane.models.language_model import LanguageModel


def count_costs(model: LanguageModel, firing_rates: Sequence[FiringRates] | None = None) -> list[ComponentCost]:
    """Return the cost of each component, per token of a forward pass."""
    rates = firing_rates or [ALWAYS_FIRING] * len(model.blocks)
    by_name: dict[str, ComponentCost] = {}
    for block, block_rates in zip(model.stack, rates, strict=True):
        for cost in block.costs(block_rates):
            by_name[cost.name] = by_name[cost.name] + cost if cost.name in by_name else cost
    head = ComponentCost(
        name="embedding and head",
        parameters=num_parameters(model.embedding, model.norm, *([] if model.head is None else [model.head])),
        dense_macs_per_token=float(model.head_weight.numel()),
    )
    return [*by_name.values(), head]
