"""Measuring a model: loss on held-out text, generation, recorded activity, energy."""
