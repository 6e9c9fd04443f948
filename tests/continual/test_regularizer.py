"""Claims about EWC, MAS and SI: the penalty, the importance of weights, and what survives a restart."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.regularizer import Regularizer
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Boundary, BoundaryView, Extensions, Penalty
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.storage.state_files import decode_state, encode_state
from tests.continual.conftest import loader_of, move

CPU = torch.device("cpu")
CONFIG = ContinualConfig(continual_learning=True, regularizer_strength=0.3, fisher_sequences=4)


def after_one_task(model: LanguageModel, domain: Domain, config: ContinualConfig = CONFIG) -> Regularizer:
    regularizer = Regularizer(config, model, seed=0)
    regularizer.boundary(BoundaryView(model=model, loader=loader_of(domain), task_index=0, device=CPU))
    return regularizer


def test_the_penalty_is_none_in_the_first_task_zero_at_the_anchor_and_positive_off_it(
    build_model: Callable, domains: list[Domain]
):
    model = build_model()
    assert Regularizer(CONFIG, model, seed=0).penalty(model) is None
    regularizer = after_one_task(model, domains[0])
    assert regularizer.penalty(model).item() == 0.0
    move(model, by=0.01)
    assert regularizer.penalty(model).item() > 0.0


def test_the_gradient_is_strength_times_fisher_times_drift(build_model: Callable, domains: list[Domain]):
    model = build_model()
    regularizer = after_one_task(model, domains[0])
    move(model, by=0.01)
    regularizer.penalty(model).backward()
    parameters = dict(model.named_parameters())
    assert regularizer.importance
    for name, fisher in regularizer.importance.items():
        drift = (parameters[name] - regularizer.anchor[name]).detach()
        torch.testing.assert_close(parameters[name].grad, 0.3 * fisher * drift)


@pytest.mark.parametrize("method", ["ewc", "mas"])
def test_importance_has_mean_one_over_all_weights(method: str, build_model: Callable, domains: list[Domain]):
    model = build_model(use_mamba=True, num_gate_heads=2)
    importance = after_one_task(model, domains[0], replace(CONFIG, regularizer=method)).importance
    total = sum(float(values.sum()) for values in importance.values())
    assert total / sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(1.0, rel=1e-5)
    assert all((values >= 0).all() for values in importance.values())


def test_earlier_fisher_information_fades_by_the_decay(build_model: Callable, domains: list[Domain]):
    model = build_model()
    regularizer = after_one_task(model, domains[0], replace(CONFIG, regularizer_decay=0.5))
    first = {name: fisher.clone() for name, fisher in regularizer.importance.items()}
    move(model, by=0.01)
    regularizer.boundary(BoundaryView(model=model, loader=loader_of(domains[1]), task_index=1, device=CPU))
    added = {name: regularizer.importance[name] - 0.5 * first[name] for name in first}
    total = sum(float(values.sum()) for values in added.values())
    assert total / sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(1.0, rel=1e-4)
    assert regularizer.penalty(model).item() == 0.0


def test_weights_that_matter_only_later_join_in_the_order_of_the_model(build_model: Callable, domains: list[Domain]):
    model = build_model()
    model.embedding.weight.requires_grad_(False)
    regularizer = after_one_task(model, domains[0])
    assert "embedding.weight" not in regularizer.importance
    model.embedding.weight.requires_grad_(True)
    regularizer.boundary(BoundaryView(model=model, loader=loader_of(domains[1]), task_index=1, device=CPU))
    again = Regularizer(CONFIG, model, seed=0)
    again.load_state_dict(decode_state(*encode_state(regularizer.state_dict(), copy=True)))
    order = [name for name, _ in model.named_parameters()]
    assert list(regularizer.importance) == list(again.importance) == order


def weights_after_two_tasks(
    build_model: Callable, domains: list[Domain], config: ContinualConfig | None
) -> dict[str, torch.Tensor]:
    model = build_model()
    regularizer = None if config is None else Regularizer(config, model, seed=0)
    extensions = (
        Extensions() if regularizer is None else Extensions(penalties=(regularizer,), boundaries=(regularizer,))
    )
    trainer = Trainer(model, EngineConfig(accumulation_steps=2), device=CPU, events=EventLog(), extensions=extensions)
    for task, domain in enumerate(domains[:2]):
        loader = loader_of(domain)
        trainer.begin_task(4)
        list(trainer.steps(loader))
        trainer.end_task(loader, task)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("method", ["ewc", "mas", "si"])
def test_strength_zero_equals_off_bit_for_bit_and_any_strength_does_not(
    method: str, build_model: Callable, domains: list[Domain]
):
    config = replace(CONFIG, regularizer=method)
    off, zero, on = (
        weights_after_two_tasks(build_model, domains, config)
        for config in (None, replace(config, regularizer_strength=0.0), config)
    )
    assert all(torch.equal(off[name], zero[name]) for name in off)
    assert any(not torch.equal(off[name], on[name]) for name in off)


def test_a_restart_in_the_middle_of_a_path_leaves_the_same_importance_to_the_last_bit(
    build_model: Callable, domains: list[Domain]
):
    model, config = build_model().double(), replace(CONFIG, regularizer="si")
    regularizer = Regularizer(config, model, seed=0)
    for seed in range(3):
        generator = make_generator(seed, "gradients")
        for number, weight in enumerate(model.parameters()):
            weight.grad = torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 10.0 ** -(number % 5)
        regularizer.penalty(model)
        move(model, by=0.01, seed=seed)
    again = Regularizer(config, model, seed=0)
    again.load_state_dict(decode_state(*encode_state(regularizer.state_dict(), copy=True)))
    for each in (regularizer, again):
        each.boundary(BoundaryView(model=model, loader=loader_of(domains[0]), task_index=0, device=CPU))
    assert list(regularizer.importance) == list(again.importance)
    assert all(torch.equal(regularizer.importance[name], again.importance[name]) for name in again.importance)


@pytest.mark.parametrize("method", ["ewc", "mas"])
def test_a_restart_goes_on_bit_for_bit(method: str, build_model: Callable, domains: list[Domain]):
    model, config = build_model(), replace(CONFIG, regularizer=method)
    regularizer = after_one_task(model, domains[0], config)
    again = Regularizer(config, model, seed=99)
    again.load_state_dict(decode_state(*encode_state(regularizer.state_dict(), copy=True)))
    move(model, by=0.01)
    assert torch.equal(regularizer.penalty(model), again.penalty(model))
    for each in (regularizer, again):
        each.boundary(BoundaryView(model=model, loader=loader_of(domains[1]), task_index=1, device=CPU))
    move(model, by=0.01, seed=2)
    assert torch.equal(regularizer.penalty(model), again.penalty(model))


def test_the_state_of_another_model_is_refused(build_model: Callable, domains: list[Domain]):
    saved = after_one_task(build_model(), domains[0]).state_dict()
    with pytest.raises(ValueError, match="the model has no such weight"):
        Regularizer(CONFIG, build_model(hidden_dim=8), seed=0).load_state_dict(saved)


def test_the_regularizer_fills_its_two_seams(build_model: Callable):
    assert all(isinstance(Regularizer(CONFIG, build_model(), seed=0), seam) for seam in (Penalty, Boundary))
