"""What is done with the scores of a program: a token is drawn from them, or asked what it costs."""

# ruff: noqa: ANN001, ANN201 -- Numba finds the types of kernels

import math

from mambrane.kernels.compiled import kernel


@kernel(fuses=False)
def draw_from(memory, scores, num_tokens, temperature, point):
    """Return the token whose share of the unit interval holds the point, by exp(score / temperature)."""
    largest = memory[scores] / temperature
    for i in range(1, num_tokens):
        largest = max(largest, memory[scores + i] / temperature)
    total = 0.0
    for i in range(num_tokens):
        total += math.exp(memory[scores + i] / temperature - largest)
    edge, last = 0.0, 0
    for i in range(num_tokens):
        share = math.exp(memory[scores + i] / temperature - largest)
        edge += share
        if edge > point * total:
            return i
        if share > 0.0:
            last = i
    return last


@kernel(fuses=False)
def log_probability(memory, scores, num_tokens, token):
    """Return ln p of a token."""
    largest = memory[scores]
    for i in range(1, num_tokens):
        largest = max(largest, memory[scores + i])
    total = 0.0
    for i in range(num_tokens):
        total += math.exp(memory[scores + i] - largest)
    return memory[scores + token] - largest - math.log(total)
