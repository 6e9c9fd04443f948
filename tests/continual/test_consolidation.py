"""Claims about elastic weight consolidation: the spring, its stiffness, and what survives a restart."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from mambrane.continual.config import ContinualConfig
from mambrane.continual.consolidation import Consolidation, coming_windows, normalised, sampled_fisher
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.data.domains import Domain
from mambrane.data.loader import WindowLoader
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Boundary, BoundaryView, Extensions, WindowPenalty
from mambrane.engine.state_files import decode_state, encode_state
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelOutput, ModelState

CPU = torch.device("cpu")
CONFIG = ContinualConfig(continual_learning=True, consolidation_strength=0.3, fisher_sequences=4)


class Unigram(nn.Module):
    """One score a token, whatever came before: its Fisher information is known in closed form."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, tokens_BT: torch.Tensor, *, resets_BT: torch.Tensor | None = None) -> ModelOutput:
        return ModelOutput(self.scores.expand(*tokens_BT.shape, -1), ModelState(()), ())


def loader_of(domain: Domain) -> WindowLoader:
    return WindowLoader([domain.train], sequence_length=20, batch_size=4, seed=0, name=domain.name)


def after_one_task(model: LanguageModel, domain: Domain, config: ContinualConfig = CONFIG) -> Consolidation:
    consolidation = Consolidation(config, model, seed=0)
    consolidation.boundary(BoundaryView(model=model, loader=loader_of(domain), task_index=0, device=CPU))
    return consolidation


def move(model: nn.Module, seed: int = 1) -> None:
    generator = make_generator(seed, "move")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def test_the_penalty_is_none_in_the_first_task_zero_at_the_anchor_and_positive_off_it(
    build_model: Callable, domains: list[Domain]
):
    model = build_model()
    assert Consolidation(CONFIG, model, seed=0).penalty(model) is None
    consolidation = after_one_task(model, domains[0])
    assert consolidation.penalty(model).item() == 0.0
    move(model)
    assert consolidation.penalty(model).item() > 0.0


def test_the_gradient_is_strength_times_fisher_times_drift(build_model: Callable, domains: list[Domain]):
    model = build_model()
    consolidation = after_one_task(model, domains[0])
    move(model)
    consolidation.penalty(model).backward()
    parameters = dict(model.named_parameters())
    assert consolidation.fisher
    for name, fisher in consolidation.fisher.items():
        drift = (parameters[name] - consolidation.anchor[name]).detach()
        torch.testing.assert_close(parameters[name].grad, 0.3 * fisher * drift)


def test_fisher_has_mean_one_over_all_weights(build_model: Callable, domains: list[Domain]):
    model = build_model(use_mamba=True, num_gate_heads=2)
    fisher = after_one_task(model, domains[0]).fisher
    total = sum(float(values.sum()) for values in fisher.values())
    assert total / sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(1.0, rel=1e-5)
    assert all((values >= 0).all() for values in fisher.values())


def test_fisher_of_sampled_labels_is_the_true_fisher_information():
    # Of one score vector read at n positions: n (diag p - p p^T), whose diagonal is n p (1 - p).
    model = Unigram([0.0, 1.0, -1.0, 0.5])
    positions = torch.zeros(1, 8, dtype=torch.int64)
    targets = positions.clone()
    targets[0, 5:] = -100
    sequence = MicroBatch(positions, targets, positions == 1)
    fisher = sampled_fisher(model, [sequence] * 4000, generator=make_generator(0, "labels"), device=CPU)
    p = model.scores.detach().softmax(dim=0)
    torch.testing.assert_close(fisher["scores"], 5 * p * (1 - p), rtol=0.06, atol=0.0)
    assert model.scores.grad is None


def test_labels_come_from_the_model_and_not_from_the_text():
    model = Unigram([0.0, 1.0, -1.0, 0.5])
    fishers = []
    for target in (0, 2):
        tokens = torch.zeros(1, 8, dtype=torch.int64)
        sequence = MicroBatch(tokens, torch.full_like(tokens, target), tokens == 1)
        fishers.append(sampled_fisher(model, [sequence], generator=make_generator(0, "labels"), device=CPU)["scores"])
    assert torch.equal(*fishers)


def test_earlier_fisher_information_fades_by_the_decay(build_model: Callable, domains: list[Domain]):
    model = build_model()
    consolidation = after_one_task(model, domains[0], replace(CONFIG, consolidation_decay=0.5))
    first = {name: fisher.clone() for name, fisher in consolidation.fisher.items()}
    move(model)
    consolidation.boundary(BoundaryView(model=model, loader=loader_of(domains[1]), task_index=1, device=CPU))
    added = {name: consolidation.fisher[name] - 0.5 * first[name] for name in first}
    total = sum(float(values.sum()) for values in added.values())
    assert total / sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(1.0, rel=1e-4)
    assert consolidation.penalty(model).item() == 0.0


def test_a_weight_without_information_is_left_free():
    assert normalised({"used": torch.tensor([1.0, 3.0]), "unused": torch.zeros(2)}).keys() == {"used"}


def test_weights_that_matter_only_later_join_in_the_order_of_the_model(build_model: Callable, domains: list[Domain]):
    model = build_model()
    model.embedding.weight.requires_grad_(False)
    consolidation = after_one_task(model, domains[0])
    assert "embedding.weight" not in consolidation.fisher
    model.embedding.weight.requires_grad_(True)
    consolidation.boundary(BoundaryView(model=model, loader=loader_of(domains[1]), task_index=1, device=CPU))
    again = Consolidation(CONFIG, model, seed=0)
    again.load_state_dict(decode_state(*encode_state(consolidation.state_dict(), copy=True)))
    order = [name for name, _ in model.named_parameters()]
    assert list(consolidation.fisher) == list(again.fisher) == order


def test_looking_back_leaves_the_loader_where_it_was(domains: list[Domain]):
    loader = loader_of(domains[0])
    next(loader.epoch_batches())
    loader.commit()
    before = loader.state_dict()
    windows = coming_windows(loader, 7)
    assert [window.inputs_BT.shape for window in windows] == [(1, 20)] * 7
    assert loader.state_dict() == before
    rest = next(loader.epoch_batches())
    assert torch.equal(rest.inputs_BT[0], windows[0].inputs_BT[0])


def weights_after_two_tasks(
    build_model: Callable, domains: list[Domain], config: ContinualConfig | None
) -> dict[str, torch.Tensor]:
    model = build_model()
    consolidation = None if config is None else Consolidation(config, model, seed=0)
    extensions = (
        Extensions()
        if consolidation is None
        else Extensions(window_penalties=(consolidation,), boundaries=(consolidation,))
    )
    trainer = Trainer(model, EngineConfig(accumulation_steps=2), device=CPU, events=EventLog(), extensions=extensions)
    for task, domain in enumerate(domains[:2]):
        loader = loader_of(domain)
        trainer.begin_task(4)
        trainer.run_epoch(loader)
        trainer.end_task(loader, task)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_strength_zero_equals_off_bit_for_bit_and_any_strength_does_not(build_model: Callable, domains: list[Domain]):
    off, zero, on = (
        weights_after_two_tasks(build_model, domains, config)
        for config in (None, replace(CONFIG, consolidation_strength=0.0), CONFIG)
    )
    assert all(torch.equal(off[name], zero[name]) for name in off)
    assert any(not torch.equal(off[name], on[name]) for name in off)


def test_a_restart_goes_on_bit_for_bit(build_model: Callable, domains: list[Domain]):
    model = build_model()
    consolidation = after_one_task(model, domains[0])
    again = Consolidation(CONFIG, model, seed=99)
    again.load_state_dict(decode_state(*encode_state(consolidation.state_dict(), copy=True)))
    move(model)
    assert torch.equal(consolidation.penalty(model), again.penalty(model))
    for each in (consolidation, again):
        each.boundary(BoundaryView(model=model, loader=loader_of(domains[1]), task_index=1, device=CPU))
    move(model, seed=2)
    assert torch.equal(consolidation.penalty(model), again.penalty(model))


def test_the_state_of_another_model_is_refused(build_model: Callable, domains: list[Domain]):
    saved = after_one_task(build_model(), domains[0]).state_dict()
    with pytest.raises(ValueError, match="the model has no such weight"):
        Consolidation(CONFIG, build_model(hidden_dim=8), seed=0).load_state_dict(saved)


def test_consolidation_fills_its_two_seams(build_model: Callable):
    assert all(isinstance(Consolidation(CONFIG, build_model(), seed=0), seam) for seam in (WindowPenalty, Boundary))
