"""Claims about the quadratic penalty: its value, and that the gradient is that of the value."""

import torch
from torch import nn

from mambrane.continual.quadratic_penalty import quadratic_penalty
from mambrane.core.seeding import make_generator


def stretched() -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = make_generator(0, "springs")
    model = nn.Linear(3, 2, dtype=torch.float64)

    def draw(weight: torch.Tensor) -> torch.Tensor:
        return torch.rand(weight.shape, generator=generator, dtype=torch.float64)

    importance = {name: draw(weight) for name, weight in model.named_parameters()}
    anchor = {name: draw(weight) for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.data = draw(weight)
    return model, importance, anchor


def test_the_penalty_is_half_the_strength_times_importance_times_squared_drift():
    model, importance, anchor = stretched()
    weights = dict(model.named_parameters())
    expected = sum(0.7 / 2 * (importance[name] * (weights[name] - anchor[name]) ** 2).sum() for name in weights)
    torch.testing.assert_close(quadratic_penalty(0.7, importance, anchor, model), expected.detach())


def test_the_gradient_is_that_of_the_energy():
    model, importance, anchor = stretched()
    # Scaled, so that the gradient that arrives from above is not 1.
    (3.0 * quadratic_penalty(0.7, importance, anchor, model)).backward()
    got = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    weights = dict(model.named_parameters())
    (3.0 * sum(0.7 / 2 * (importance[n] * (weights[n] - anchor[n]) ** 2).sum() for n in weights)).backward()
    torch.testing.assert_close(got, [weight.grad for weight in model.parameters()])
